"""YAML that says what it means: a key twice is an error, and whatever is wrong is one kind of error."""

from typing import Any


def load_yaml(text: str) -> Any:
    """Read one document of plain YAML: no tags that make objects, no key twice.

    Raises:
        ValueError: It is none; the message is one line that names the place.
    """
    import yaml

    class Loader(yaml.SafeLoader):
        """PyYAML keeps the last of two equal keys, and says nothing."""

    def mapping(loader: yaml.SafeLoader, node: yaml.MappingNode) -> dict[Any, Any]:
        seen = set()
        for key, _ in node.value:  # before what is merged in comes on top
            if isinstance(key, yaml.ScalarNode):
                if (key.tag, key.value) in seen:
                    raise ValueError(f"{key.value!r} stands there twice, again in line {key.start_mark.line + 1}")
                seen.add((key.tag, key.value))
        return loader.construct_mapping(node, deep=True)

    Loader.add_constructor(yaml.resolver.BaseResolver.DEFAULT_MAPPING_TAG, mapping)
    try:
        return yaml.load(text, Loader)
    except Exception as error:  # PyYAML raises what its constructors happen to raise
        raise ValueError(" ".join(str(error).split()) or type(error).__name__) from error
