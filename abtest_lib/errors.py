"""The three kinds of error: someone's YAML, a broken promise of the warehouse, and (ValueError) a caller's slip."""


class DefinitionError(Exception):
    """A definition file is wrong; the message holds every problem, one ``file:line: …`` a line."""


class DataError(Exception):
    """The warehouse broke a promise; the message names experiment, place and remedy."""
