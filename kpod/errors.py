"""The errors a user can act on. Each message is one line that names the key or file and the way out."""


class KpodError(Exception):
    """Base class: the command line prints its message without a traceback and exits with 2."""


class ConfigError(KpodError):
    """A setting is unknown, of the wrong type, contradictory, or points at something missing."""


class DataError(KpodError):
    """An input file is unreadable, breaks its schema, or holds no usable row."""


class TeacherError(KpodError):
    """The teacher cannot be reached, refuses the request, or would cost more than allowed."""


class ModelError(KpodError):
    """A model folder is incomplete, or a model does not fit the stage that loads it."""
