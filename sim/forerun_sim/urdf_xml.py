"""A URDF as a file: text in UTF-8 that is XML, and XML that PyBullet reads too."""

from __future__ import annotations

import re
from pathlib import Path
from xml.etree import ElementTree

from forerun_sim.errors import InputError

LARGEST = 20e6
"""Size [bytes] of a file that is no URDF."""
LONGEST_LINE = 8000
"""Characters; PyBullet reads lines of at most 8191 and breaks longer ones in the middle of a word."""
_OPTENV = re.compile(r"\$\(optenv +\w+ *([^)]*)\)")
"""What xacro leaves in a URDF where a variable of the environment may replace a value: its default counts."""


def read_urdf(path: Path) -> ElementTree.Element:
    """The <robot> of the URDF at ``path``.

    Raises:
        InputError: the file is missing, no UTF-8, no XML, no URDF, or a xacro file; the message says what to do.
    """
    return parse_urdf(urdf_text(path), path)


def parse_urdf(text: str, path: Path) -> ElementTree.Element:
    """The <robot> of a URDF's ``text``, read from ``path``. Errors as in ``read_urdf``."""
    try:
        tree = ElementTree.fromstring(_OPTENV.sub(r"\1", text))
    except (ElementTree.ParseError, ValueError) as error:
        raise InputError(f"{path}: the URDF is not valid XML: {error}; correct it there") from error
    if any("xacro" in str(element.tag) for element in tree.iter()):
        raise InputError(
            f"{path}: is a xacro file, from which a URDF is made: xacro {path.name} > {path.name.split('.')[0]}.urdf"
        )
    if tree.tag != "robot":
        raise InputError(f"{path}: a URDF begins with <robot>, this file with <{tree.tag}>")
    if "<!DOCTYPE" in text:
        raise InputError(f"{path}: has a <!DOCTYPE>, whose entities PyBullet does not know: write the values themselves")
    if max(map(len, text.splitlines())) > LONGEST_LINE:
        raise InputError(f"{path}: has a line of more than {LONGEST_LINE} characters, which PyBullet breaks: break it")
    return tree


def urdf_text(path: Path) -> str:
    """The text of the URDF at ``path``. Errors as in ``read_urdf``."""
    try:
        size = path.stat().st_size
        if size > LARGEST:
            raise InputError(f"{path}: is no URDF: {size / 1e6:.0f} MB, at most {LARGEST / 1e6:.0f} are read")
        return path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise InputError(f"{path}: the URDF cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise InputError(
            f"{path}: the URDF is not UTF-8 text ({error.reason} at byte {error.start}): save it as UTF-8"
        ) from error
