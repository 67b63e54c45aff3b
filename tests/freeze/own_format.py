"""A layout of a user's own, as a config names it: `type: own_format.py:render`."""


def render(row, spec):
    """Return what is said, and whether it is trained."""
    return [(f"Q: {row['instruction']}\n", False), (f"A: {row['output']}", True)]
