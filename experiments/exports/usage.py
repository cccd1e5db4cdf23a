"""How exported networks are used: code for a model card, which runs in the folder of the files."""

from collections.abc import Sequence

from experiments.exports.formats import FILES, TRACED, Exporter

CODE = {
    "torch": """import torch

network = torch.export.load("{file}").module()
images = torch.rand({shape})
logits = network(images)""",
    "onnx": """import numpy
import onnxruntime

session = onnxruntime.InferenceSession("{file}")
images = numpy.random.rand({shape}).astype("float32")
logits = session.run(None, {{"images": images}})[0]""",
    "safetensors": """import torch

from experiments.exports.formats import load_exported

network = load_exported(".")
images = torch.rand({shape})
logits = network(images)""",
    "timm": """import timm
import torch

network = timm.create_model("local-dir:.", pretrained=True).eval()
mean, std = torch.tensor({mean}).view(-1, 1, 1), torch.tensor({std}).view(-1, 1, 1)
images = torch.rand({timm_shape})
logits = network((images - mean) / std)""",
}
NEEDED = {
    "torch": "With PyTorch alone",
    "onnx": "With ONNX Runtime",
    "safetensors": "With teacher-student-lightning",
    "timm": "With timm, which does not normalise images by itself",
}


NOT_TIMM = "timm cannot load this folder: it has no network of these layers under this name."


def usage_section(exporter: Exporter, formats: Sequence[str], *, in_timm: bool) -> str:
    """Return the section on use.

    Args:
        exporter: that wrote the network.
        formats: that it was written in.
        in_timm: whether timm loads the folder too.
    """
    takes = "Images (N, C, H, W) in 0..1 go in, normalised inside; logits come out, for any number of images at once."
    blocks = [takes + sides_of_traced(exporter, formats)]
    for form in [*formats, *(["timm"] if in_timm else [])]:
        code = CODE[form].format(file=FILES.get(form, ("",))[0], **values_of(exporter))
        blocks.append(f"{NEEDED[form]}:\n\n```python\n{code}\n```")
    if "safetensors" in formats and not in_timm:
        blocks.append(NOT_TIMM)
    return "## Use\n\n" + "\n\n".join(blocks)


def sides_of_traced(exporter: Exporter, formats: Sequence[str]) -> str:
    """Return a sentence on the sizes of images that files of a traced network take; nothing where there are none."""
    files = [FILES[form][0] for form in formats if form in TRACED]
    if not files:
        return ""
    height, width = exporter.images.shape[-2:]
    step = exporter.side_step
    more = "" if step is None else f", and sides that are longer by multiples of {step}"
    return f" Height and width are {height}×{width} in {' and '.join(files)}{more}."


def values_of(exporter: Exporter) -> dict[str, object]:
    """Return what the code of every format is filled with."""
    spec, (_, channels, height, width) = exporter.network.spec, exporter.images.shape
    side = spec.input_size
    return {
        "shape": f"2, {channels}, {height}, {width}",
        "timm_shape": f"2, {channels}, {side or height}, {side or width}",
        "mean": list(spec.mean),
        "std": list(spec.std),
    }
