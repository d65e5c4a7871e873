"""Writes what the official export of OCSF says about the events that Conntrail emits.

Usage: schemas.py DIRECTORY

DIRECTORY gets one self-contained JSON Schema a class, and captions.json: for each class, by its
number, and each object, by its name, the attributes that are numbers with a caption beside them,
with the name of the attribute that carries the caption and the captions.
"""

import json
import pathlib
import sys

from ocsf_json_schema import OcsfJsonSchemaEmbedded, get_ocsf_schema

VERSION = "1.8.0"
PROFILES = ["host"]
# The second name is spelled as the standard spells it.
CLASSES = ["network_activity", "event_log_actvity", "application_lifecycle"]


def main(directory):
    export = get_ocsf_schema(VERSION)
    write(directory / "captions.json", captions(export))
    schema = OcsfJsonSchemaEmbedded(export)
    for name in CLASSES:
        write(directory / f"{name}.json", schema.get_class_schema(name, PROFILES))


def captions(export):
    classes = [export["classes"][name] for name in CLASSES]
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
