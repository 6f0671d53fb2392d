"""Names of a package that are loaded when they are first used, so that importing the package stays cheap."""

from importlib import import_module


def load_later(namespace, where):
    """The pair (__getattr__, __dir__) of a package: `where` maps a name to "module" or "module:attribute"."""
    package = namespace["__name__"]

    def __getattr__(name):
        if name not in where:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        module, _, attribute = where[name].partition(":")
        found = import_module(module)
        found = getattr(found, attribute) if attribute else found
        namespace[name] = found
        return found

    def __dir__():
        return sorted({*namespace, *where})

    return __getattr__, __dir__
