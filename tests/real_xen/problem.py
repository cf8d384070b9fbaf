"""What can keep the harness from its work."""


class HarnessError(Exception):
    """Something is missing or did not work; the message says what, and what helps, in one line."""


class DomainFellError(HarnessError):
    """The domain's own kernel fell before anything was asked of the hypervisor; another try may go well."""
