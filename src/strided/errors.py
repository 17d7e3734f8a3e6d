"""The one exception that means: the user can put this right."""


class UserError(ValueError):
    """A mistake in what was typed or in the data: says what was given, expected, and to try."""
