"""Defines the engine's errors. Their text is one line for people.

TabcastError
├── ConfigError        a setting that can't be used
├── ModelError         a model folder that is missing, incomplete, of another form or too large
├── FolderError        a runtime folder that can't be used, or written
├── RequestError       a request that can't be answered as it is
├── AlreadyRunning     another engine has the runtime directory, or the port is taken
└── Interrupted        somebody pressed Ctrl-C; the text says what is left and what goes on
"""


class TabcastError(Exception):
    """The base of all errors that are shown to people."""


class ConfigError(TabcastError):
    """A setting can't be used."""


class ModelError(TabcastError):
    """A model folder can't be loaded."""


class FolderError(TabcastError):
    """A runtime folder can't be used."""


class RequestError(TabcastError):
    """A request can't be answered as it is."""


class AlreadyRunning(TabcastError):  # noqa: N818 - it says what is the case
    """Another engine has the runtime directory, or another program the port."""


class Interrupted(TabcastError):  # noqa: N818 - it says what is the case
    """Somebody has ended the command before it was done."""
