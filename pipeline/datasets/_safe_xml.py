"""XML files of strangers as trees: no entity, no document type, no file larger than an annotation can be."""

from pathlib import Path
from xml.etree.ElementTree import Element, TreeBuilder
from xml.parsers import expat

from edgewright.runtime.errors import DataError

_MOST_BYTES = 16 << 20
_LINE = "line of the file"


def read_xml(path: Path) -> Element:
    """The root of the tree; DataError with the line when the file is missing, too large, damaged, or defines entities."""
    try:
        size = path.stat().st_size
        data = path.read_bytes() if size <= _MOST_BYTES else b""
    except OSError as err:
        raise DataError(f"{path}: the annotation cannot be read ({err.strerror}); check the file") from err
    if size > _MOST_BYTES:
        raise DataError(
            f"{path}: the annotation has {size >> 20} MiB, wanted at most {_MOST_BYTES >> 20}; check the file"
        )
    builder, parser = TreeBuilder(), expat.ParserCreate()

    def start(tag: str, attributes: dict[str, str]) -> None:
        builder.start(tag, {**attributes, _LINE: str(parser.CurrentLineNumber)})

    def refuse(*_: object) -> None:
        line = parser.CurrentLineNumber
        raise DataError(f"{path}:{line}: the XML has a document type, which may define entities; remove the DOCTYPE")

    parser.StartElementHandler, parser.EndElementHandler = start, builder.end
    parser.CharacterDataHandler, parser.StartDoctypeDeclHandler = builder.data, refuse
    try:
        parser.Parse(data, True)
    except expat.ExpatError as err:
        raise DataError(
            f"{path}:{err.lineno}: this is no XML ({expat.ErrorString(err.code)}); repair the file"
        ) from err
    return builder.close()


def line_of(element: Element) -> int:
    """The line of the file where the element starts."""
    return int(element.attrib[_LINE])
