"""What Xen makes of a payload's special sections: notes, functions, hooks, tables, its own symbols."""
