"""Where torch networks come from: `ZOO/NAME` names one of a library, `PACKAGE.MODULE:FACTORY` one of the user's."""

import importlib
from typing import TYPE_CHECKING

from edgewright.runtime import plugins

if TYPE_CHECKING:
    from edgewright.export.request import ExportRequest
    from edgewright.export.torch_source import TorchNetwork

# The word before '/', which names the file `ZOO_zoo.py`, and what brings the library.
ZOOS = {"torchvision": "export", "transformers": "transformers", "smp": "smp"}


def names_torch_network(source: str) -> bool:
    """Whether `source` follows the grammar of a torch network; the network may still not exist."""
    module, colon, factory = source.partition(":")
    dotted = all(part.isidentifier() for part in module.split("."))
    zoo, _, name = source.partition("/")
    return (zoo in ZOOS and bool(name)) or bool(colon and dotted and factory.isidentifier())


def load_network(request: "ExportRequest") -> "TorchNetwork":
    """The torch module that `request.source` names, with its weights as float32, ready for inference."""
    zoo, slash, _ = request.source.partition("/")
    name = f"edgewright.export.{zoo}_zoo" if slash and zoo in ZOOS else "edgewright.export.torch_factory"
    try:
        module = importlib.import_module(name)
    except ModuleNotFoundError as err:
        raise plugins.missing_dependency(err, needed_by=f"a network of {zoo}") from err
    network: TorchNetwork = module.load(request)
    network.module.float()  # published weights may be halves; graphs are halved later, where that pays
    return network
