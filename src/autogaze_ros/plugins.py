"""Classes by name: those of this package, and those that other packages add without a change here.

A name is one of

* a built-in one, registered in SELECTORS or METRICS at the end of this file,
* an entry point of an installed package, in the group of SELECTORS or METRICS,
* MODULE:CLASS, a class of any module that can be imported.

Names are listed and checked without importing a plugin; only `load` and `create` import.
"""

from __future__ import annotations

import importlib
import inspect
import traceback
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import cached_property, reduce
from typing import Any

from autogaze_ros.errors import AutoGazeError, ParameterError, PluginError
from autogaze_ros.reporting import shown

_OWN = "autogaze_ros"  # where a built-in class comes from, in messages


class Plugins:
    """Classes of one kind, by name.

    kind: noun for one of them in messages.
    group: entry-point group in which other packages register theirs.
    base: MODULE:CLASS of their abstract base class.
    builtin: MODULE:CLASS of this package's own ones, by name.
    """

    def __init__(self, kind: str, *, group: str, base: str, builtin: Mapping[str, str]) -> None:
        self.kind, self.group, self.builtin = kind, group, builtin
        self._base = base
        self._loaded: dict[str, type[Any]] = {}

    def names(self) -> list[str]:
        """Return the names of built-in classes and entry points, sorted."""
        return sorted({*self.builtin, *self._offered})

    def check(self, name: str, *, live: bool = False) -> None:
        """Raise ParameterError for a name that nothing has.

        live: refuse MODULE:CLASS as well, unless `load` has imported it before. Whoever may set a
            parameter of a running node could otherwise import any module.
        """
        if _is_reference(name):
            if live and name not in self._loaded:
                raise ParameterError(
                    f"{self.kind} {name} would import code, which is accepted only at start: from the"
                    " command line, a launch file or a parameter file"
                )
        elif name not in self.builtin and name not in self._offered:
            raise ParameterError(
                f"unknown {self.kind} {name!r}; known are {', '.join(self.names())}, and MODULE:CLASS"
            )

    def load(self, name: str) -> type[Any]:
        """Import a class by name.

        Raises ParameterError for an unknown name, and PluginError where a name is ambiguous or a plugin
        cannot be imported or does not fit. Errors of built-in classes stay as they are.
        """
        if name not in self._loaded:
            self.check(name)
            self._loaded[name] = self._import(name, self._reference(name))
        return self._loaded[name]

    def create(self, name: str, **options: Any) -> Any:
        """Construct an instance with those of the options that the constructor has parameters for.

        Raises as `load`; an exception in a plugin's constructor becomes a PluginError, except for
        AutoGazeError and OSError, which concern the user's options.
        """
        found, title = self.load(name), f"{self.kind} {name}"
        if name in self.builtin:
            return found(**_fitting(found, options, title))
        with _plugin_code(f"{title} cannot be constructed", AutoGazeError, OSError):
            return found(**_fitting(found, options, title))

    @cached_property
    def _offered(self) -> dict[str, dict[str, str]]:
        """Return for each name the MODULE:CLASS of its entry points, each with its distribution."""
        from importlib.metadata import entry_points

        offered: dict[str, dict[str, str]] = {}
        for entry in entry_points(group=self.group):
            origin = entry.dist.metadata["Name"] if entry.dist else "an unknown package"
            offered.setdefault(entry.name, {})[entry.value.partition("[")[0].strip()] = origin
        return offered

    def _reference(self, name: str) -> str:
        """Return the MODULE:CLASS that a name stands for; raises PluginError if there are several."""
        found = {self.builtin[name]: _OWN} if name in self.builtin else {}
        found |= self._offered.get(name, {})
        if _is_reference(name):
            found[name] = "the name itself"
        if len(found) > 1:
            origins = " and ".join(f"{reference} of {origin}" for reference, origin in sorted(found.items()))
            raise PluginError(f"{self.kind} {name} is ambiguous: {origins}; give MODULE:CLASS instead")
        (reference,) = found
        return reference

    def _import(self, name: str, reference: str) -> type[Any]:
        if self.builtin.get(name) == reference:
            found: type[Any] = _attribute(*_parts(reference))
            return found
        title = f"{self.kind} {name}" if name == reference else f"{self.kind} {name} ({reference})"
        if not _is_reference(reference):
            raise PluginError(f"{title}: the entry point does not have the form MODULE:CLASS")
        module, path = _parts(reference)
        with _plugin_code(f"{title} cannot be imported", AutoGazeError):
            importlib.import_module(module)
        try:
            plugin = _attribute(module, path)
        except AttributeError:
            raise PluginError(f"{title}: module {module} has no {path}") from None
        self._check_class(plugin, title)
        return plugin

    def _check_class(self, plugin: Any, title: str) -> None:
        """Raise PluginError unless a plugin is a class with the methods of the base class."""
        base = _attribute(*_parts(self._base))
        if not isinstance(plugin, type):
            raise PluginError(f"{title} is not a class")
        abstract = getattr(plugin, "__abstractmethods__", ())
        methods = sorted(base.__abstractmethods__)
        if missing := [one for one in methods if one in abstract or not callable(getattr(plugin, one, None))]:
            raise PluginError(f"{title} lacks the method {', '.join(missing)}")
        if not issubclass(plugin, base):
            raise PluginError(f"{title} is not a subclass of {base.__module__}.{base.__name__}")


def _is_reference(name: str) -> bool:
    """Return True for the form MODULE:CLASS."""
    module, colon, path = name.partition(":")
    return bool(colon) and all(part.isidentifier() for part in (*module.split("."), *path.split(".")))


def _parts(reference: str) -> tuple[str, str]:
    module, _, path = reference.partition(":")
    return module, path


def _attribute(module: str, path: str) -> Any:
    return reduce(getattr, path.split("."), importlib.import_module(module))


def _fitting(found: type[Any], options: Mapping[str, Any], title: str) -> dict[str, Any]:
    """Return the options that a constructor takes; raises PluginError if it needs others."""
    parameters = inspect.signature(found).parameters.values()
    if any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters):
        return dict(options)
    named = [one for one in parameters if one.kind is not one.VAR_POSITIONAL]
    if missing := [one.name for one in named if one.default is one.empty and one.name not in options]:
        raise PluginError(
            f"{title}: the constructor needs {', '.join(missing)}, but is given only {', '.join(options)}"
        )
    return {one.name: options[one.name] for one in named if one.name in options}


@contextmanager
def _plugin_code(what: str, *passing: type[Exception]) -> Iterator[None]:
    """Turn an exception of a plugin's code into a PluginError with its type and place.

    passing: types that are left as they are.
    """
    try:
        yield
    except passing:
        raise
    except (Exception, SystemExit) as error:
        raise PluginError(f"{what}: {type(error).__name__}: {shown(error)}{_place(error)}") from error


def _place(error: BaseException) -> str:
    """Return file and line of an exception in brackets; empty if it was raised by the import itself."""
    if isinstance(error, SyntaxError):
        return ""  # its message has them
    frames = [
        frame
        for frame in traceback.extract_tb(error.__traceback__)
        if frame.filename not in (__file__, importlib.__file__) and not frame.filename.startswith("<frozen ")
    ]
    return f" ({frames[-1].filename}:{frames[-1].lineno})" if frames else ""


SELECTORS = Plugins(
    "selector",
    group="autogaze_ros.selectors",
    base="autogaze_ros.selectors.base:Selector",
    builtin={
        "autogaze": "autogaze_ros.selectors.autogaze:AutoGazeSelector",
        "motion_vectors": "autogaze_ros.selectors.motion_vectors:MotionVectorsSelector",
        "patch_difference": "autogaze_ros.selectors.untrained:PatchDifferenceSelector",
        "random": "autogaze_ros.selectors.untrained:RandomSelector",
        "residual": "autogaze_ros.selectors.residual:ResidualSelector",
        "uniform": "autogaze_ros.selectors.untrained:UniformSelector",
        "upstream": "autogaze_ros.selectors.upstream:UpstreamSelector",
    },
)
METRICS = Plugins(
    "metric",
    group="autogaze_ros.metrics",
    base="autogaze_ros.evaluation.metrics:Metric",
    builtin={
        "lpips": "autogaze_ros.evaluation.metrics:LPIPS",
        "psnr": "autogaze_ros.evaluation.metrics:PSNR",
        "ssim": "autogaze_ros.evaluation.metrics:SSIM",
        "l1_normalized": "autogaze_ros.evaluation.metrics:L1Normalized",
        "l1_pixel": "autogaze_ros.evaluation.metrics:L1Pixel",
    },
)
