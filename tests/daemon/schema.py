"""The part of JSON Schema that docs/openapi.json uses; a word that is not known here is an error, not ignored."""

import re

TYPES = {
    "object": dict,
    "array": list,
    "string": str,
    "boolean": bool,
    "integer": int,
    "number": (int, float),
}
NOTES = {"description", "default"}


def check(value, schema, document, where="$"):
    """Raises AssertionError where the value is not of the schema."""
    known = {"$ref", "type", "properties", "required", "additionalProperties", "items", "enum", "minimum", "maximum"}
    known |= {"maxItems", "maxLength", "pattern"}
    unknown = set(schema) - known - {"nullable", "oneOf"} - NOTES
    assert not unknown, f"{where}: the schema uses {unknown}"
    if "$ref" in schema:
        target = document
        for part in schema["$ref"].removeprefix("#/").split("/"):
            target = target[part]
        return check(value, target, document, where)
    if value is None:
        assert schema.get("nullable"), f"{where}: null"
        return None
    if "oneOf" in schema:
        fits = [option for option in schema["oneOf"] if matches(value, option, document)]
        assert len(fits) == 1, f"{where}: {value!r} is {len(fits)} of the alternatives"
        return None
    kind = schema["type"]
    wrong_kind = isinstance(value, bool) and kind != "boolean"
    assert isinstance(value, TYPES[kind]) and not wrong_kind, f"{where}: {value!r} is no {kind}"
    assert value in schema.get("enum", [value]), f"{where}: {value!r} is not listed"
    assert not ("minimum" in schema and value < schema["minimum"]), f"{where}: {value} is too small"
    assert not ("maximum" in schema and value > schema["maximum"]), f"{where}: {value} is too large"
    assert kind != "string" or len(value) <= schema.get("maxLength", len(value)), f"{where}: {len(value)} characters"
    assert kind != "string" or re.search(schema.get("pattern", ""), value), f"{where}: {value!r} is of another form"
    if kind == "array":
        assert len(value) <= schema.get("maxItems", len(value)), f"{where}: {len(value)} of them"
        for index, element in enumerate(value):
            check(element, schema["items"], document, f"{where}[{index}]")
    if kind == "object":
        properties, others = schema.get("properties", {}), schema.get("additionalProperties", True)
        missing = set(schema.get("required", [])) - set(value)
        assert not missing, f"{where}: {missing} missing"
        for name, member in value.items():
            if name in properties:
                check(member, properties[name], document, f"{where}.{name}")
            else:
                assert others is not False, f"{where}: {name} is not described"
                if isinstance(others, dict):
                    check(member, others, document, f"{where}.{name}")
    return None


def matches(value, schema, document):
    try:
        check(value, schema, document)
        return True
    except AssertionError:
        return False
