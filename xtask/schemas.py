"""Writes what the official export of OCSF says about the events that Conntrail emits.

Usage: schemas.py DIRECTORY

DIRECTORY gets one self-contained JSON Schema a class, and captions.json: for each class, by its
number, and each object, by its name, the attributes that are numbers with a caption beside them,
with the name of the attribute that carries the caption and the captions.
The directory 1.1 in it gets the same for the version that older lakes take, and shapes.txt: what
each class and object may have there, from which our table for pruning is copied.
"""

import json
import pathlib
import sys

from ocsf_json_schema import OcsfJsonSchemaEmbedded, get_ocsf_schema

VERSION = "1.8.0"
OLD_VERSION = "1.1.0"
PROFILES = ["host"]
# The second name is spelled as the standard spells it.
CLASSES = ["network_activity", "event_log_actvity", "application_lifecycle"]
# The old version has no class for logs: what they tell goes into the class of all events.
OLD_CLASSES = ["network_activity", "base_event", "application_lifecycle"]
# The objects that our events have.
OBJECTS = [
    "actor",
    "device",
    "digital_signature",
    "file",
    "fingerprint",
    "metadata",
    "network_connection_info",
    "network_endpoint",
    "network_traffic",
    "os",
    "process",
    "product",
    "session",
    "user",
]


def main(directory):
    version(directory, VERSION, CLASSES)
    old = directory / "1.1"
    old.mkdir(exist_ok=True)
    version(old, OLD_VERSION, OLD_CLASSES)
    shapes(old / "shapes.txt", get_ocsf_schema(OLD_VERSION))


def version(directory, number, names):
    export = get_ocsf_schema(number)
    write(directory / "captions.json", captions(export, names))
    schema = OcsfJsonSchemaEmbedded(export)
    for name in names:
        write(directory / f"{name}.json", schema.get_class_schema(name, PROFILES))


def shapes(path, export):
    """A line a class, by its number, and an object: what it may have, and the objects there."""
    classes = {str(export["classes"][name]["uid"]): export["classes"][name] for name in OLD_CLASSES}
    known = classes | {name: export["objects"][name] for name in OBJECTS}
    lines = [f"{name}: {' '.join(attributes(shape))}\n" for name, shape in known.items()]
    path.write_text("".join(lines), encoding="utf-8")


def attributes(shape):
    for name, attribute in sorted(shape["attributes"].items()):
        if attribute.get("profile") in [None, *PROFILES]:
            kind = attribute.get("object_type")
            yield f"{name}={kind}" if kind in OBJECTS else name


def captions(export, names):
    classes = [export["classes"][name] for name in names]
    shapes = {str(shape["uid"]): shape for shape in classes} | export["objects"]
    return {name: captions_of(shape) for name, shape in sorted(shapes.items())}


def captions_of(shape):
    return {
        name: {
            "sibling": attribute["sibling"],
            "captions": {number: entry["caption"] for number, entry in attribute["enum"].items()},
        }
        for name, attribute in sorted(shape["attributes"].items())
        if "enum" in attribute and "sibling" in attribute
    }


def write(path, value):
    path.write_text(json.dumps(value, separators=(",", ":")), encoding="utf-8")


if __name__ == "__main__":
    main(pathlib.Path(sys.argv[1]))
