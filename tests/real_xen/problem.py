"""What can keep the harness from its work."""


class HarnessError(Exception):
    """Something is missing or did not work; the message says what, and what helps, in one line."""
