"""What every check raises."""


class Refused(Exception):
    """A message that a receiver must not accept. The first argument is the step of spec/rules.md."""
