"""The one reading and writing of YAML: configurations, sweeps, profiles, stored files, as on the command line."""

import re
from typing import Any, ClassVar

import yaml

_FLOAT = re.compile(
    r"""^(?:
     [-+]?[0-9][0-9_]*\.[0-9_]*(?:[eE][-+]?[0-9]+)?
    |[-+]?[0-9][0-9_]*[eE][-+]?[0-9]+
    |\.[0-9_]+(?:[eE][-+][0-9]+)?
    |[-+]?[0-9][0-9_]*(?::[0-5]?[0-9])+\.[0-9_]*
    |[-+]?\.(?:inf|Inf|INF)
    |\.(?:nan|NaN|NAN))$""",
    re.VERBOSE,
)
"""Numbers as jsonargparse reads them, 1e-6 among them, which YAML 1.1 takes for text."""

_FLOAT_TAG, _DATE_TAG, _MERGE_TAG = (f"tag:yaml.org,2002:{kind}" for kind in ("float", "timestamp", "merge"))


class _Loader(getattr(yaml, "CSafeLoader", yaml.SafeLoader)):  # type: ignore[misc]
    """Plain values only; numbers without a point, dates as text, and no key twice in a mapping."""

    yaml_implicit_resolvers: ClassVar = {
        first: [(tag, form) for tag, form in forms if tag not in (_FLOAT_TAG, _DATE_TAG)]
        for first, forms in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }

    def __init__(self, stream: Any) -> None:
        super().__init__(stream)
        self.deep_construct = True  # a value that holds itself is refused then, not made

    def flatten_mapping(self, node: yaml.MappingNode) -> None:
        """Refuse a key that is written twice, before `<<` brings in the keys that a mapping may override."""
        seen: dict[object, int] = {}
        for key_node, _ in node.value:
            if not isinstance(key_node, yaml.ScalarNode) or key_node.tag == _MERGE_TAG:
                continue
            key, mark = self.construct_object(key_node), key_node.start_mark
            if key in seen:
                problem = f"the key {key!r} is there already, in line {seen[key]}"
                raise yaml.MarkedYAMLError(problem=problem, problem_mark=mark)
            seen[key] = mark.line + 1
        super().flatten_mapping(node)


_Loader.add_implicit_resolver(_FLOAT_TAG, _FLOAT, list("-+0123456789."))


class _Dumper(yaml.SafeDumper):
    """Quotes what the loader would take for more than text."""

    yaml_implicit_resolvers = _Loader.yaml_implicit_resolvers


def dump_yaml(value: Any) -> str:
    """Return the YAML text of a plain value, which `parse_yaml` turns into the same.

    Text that looks like a number there, `1e6` or the name of a record, is quoted; PyYAML's own dumper leaves it bare.
    """
    text: str = yaml.dump(value, Dumper=_Dumper, sort_keys=False, allow_unicode=True)
    return text


def parse_yaml(text: str | bytes, *, name: object = "") -> Any:
    """Return the value that a YAML text stands for.

    Numbers are those of the command line: `1e-6` is one. Dates stay text.

    Args:
        text: The text; bytes are UTF-8.
        name: File that it is of, for the message.

    Raises:
        yaml.YAMLError: If it is no YAML, or a key is twice in one mapping; a line with the file and the place.
    """
    try:
        return yaml.load(text.decode() if isinstance(text, bytes) else text, Loader=_Loader)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        place = f"line {mark.line + 1}, column {mark.column + 1}" if mark else ""
        raise _refused(name, place, error.problem or error.context or "no YAML") from error
    except yaml.YAMLError as error:
        raise _refused(name, "", error) from error
    except UnicodeDecodeError as error:
        raise _refused(name, f"byte {error.start}", "no text in UTF-8") from error
    except RecursionError as error:
        raise _refused(name, "", "nested too deeply") from error
    # A tag with a value that is none of it, as `!!int x`.
    except (ValueError, TypeError, KeyError, IndexError, AttributeError) as error:
        raise _refused(name, "", f"a value that cannot be read, {error}") from error


def _refused(name: object, place: str, problem: object) -> yaml.YAMLError:
    where = ", ".join(part for part in (str(name), place) if part)
    text = " ".join(str(problem).split())
    return yaml.YAMLError(f"{where}: {text}" if where else text)
