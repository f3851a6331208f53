"""The towers of a retriever as ONNX graphs, checked against PyTorch."""

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from mmtvr.apis.retriever import Retriever
from mmtvr.errors import SetupError, first_line, import_extra
from mmtvr.structures import TokenFeatures

__all__ = ['export_onnx']

#: Largest difference of a feature, a component of a unit vector.
TOLERANCE = 1e-4
OUTPUTS = ('tokens', 'mask', 'pooled')
NEEDED_FOR = 'writing ONNX'


class Side(NamedTuple):
    """One tower as it is exported.

    Attributes:
        name: Of its files.
        module: From the inputs to the fields of ``OUTPUTS``.
        inputs: Example tensors by name; the first is (rows, length, ...).
        others: Inputs of another number of rows, and another length unless
            the side has a fixed one.
    """

    name: str
    module: nn.Module
    inputs: dict[str, Tensor]
    others: dict[str, Tensor]

    @property
    def has_free_length(self) -> bool:
        """Whether the length may differ."""
        lengths = [
            next(iter(each.values())).shape[1]
            for each in (self.inputs, self.others)
        ]
        return lengths[0] != lengths[1]


class _Tower(nn.Module):
    """Positional inputs and outputs, as an ONNX graph has them."""

    def __init__(self, model: nn.Module, extract: str, names: tuple) -> None:
        super().__init__()
        self.model, self.extract, self.names = model, extract, names

    def forward(self, *inputs: Tensor) -> tuple[Tensor, ...]:
        extract = getattr(self.model, self.extract)
        found = extract(dict(zip(self.names, inputs, strict=True)))
        return _outputs(found)


def _outputs(features: TokenFeatures) -> tuple[Tensor, ...]:
    # An output that is an input itself would lose its name.
    mask = features.mask & torch.ones_like(features.mask)
    return features.tokens, mask, features.pooled


def export_onnx(retriever: Retriever, folder: str | Path) -> dict[str, float]:
    """Write both towers as ONNX and compare each with PyTorch.

    ``text.onnx`` takes ``text_tokens`` (B, L) int64 and ``text_mask`` (B, L)
    bool, ``video.onnx`` takes ``frames`` (V, T, 3, H, W) uint8 and
    ``frame_mask`` (V, T) bool; B, V, L and T are free. Both give ``tokens``,
    ``mask`` and ``pooled`` of :class:`TokenFeatures`. ``text_pooled.onnx``
    and ``video_pooled.onnx`` give ``pooled`` alone and share the weights,
    ``text.onnx.data`` and ``video.onnx.data``. The head is not exported.

    Args:
        retriever: On any device; the graphs are made on the CPU in float32.
        folder: Gets the files.

    Returns:
        By file, the largest difference of a feature between onnxruntime and
        PyTorch, over several numbers of rows and lengths.

    Raises:
        SetupError: A part cannot be written as ONNX, a difference is above
            1e-4, or the extra ``onnx`` is not installed.
    """
    for module in ('onnx', 'onnxscript', 'onnxruntime'):
        import_extra(module, 'onnx', NEEDED_FOR)
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    model = retriever.encoder.model
    device = retriever.encoder.device
    differences = {}
    try:
        model.to('cpu')
        for side in (text_side(retriever), video_side(retriever)):
            path = folder / f'{side.name}.onnx'
            pooled = folder / f'{side.name}_pooled.onnx'
            _write(side, path)
            _finish(path, pooled)
            for each in (path, pooled):
                differences[each.name] = _compare(side, each)
    finally:
        model.to(device)
    return differences


def text_side(retriever: Retriever) -> Side:
    """The text tower with example inputs; see :func:`export_onnx`."""
    texts = ['a', 'a red circle', 'two of them are moving slowly']
    packed = retriever.encoder.pipelines.text(dict(text=texts))['inputs']
    tokens, mask = packed['tokens'], packed['token_mask']
    if tokens.ndim != 2:
        raise SetupError(
            "texts are encoded sentence by sentence (long_text='sentences' of "
            'mmtvr.TokenizeText), which has no ONNX graph: set '
            "long_text='truncate' in the test pipeline"
        )
    names = ('tokens', 'token_mask')
    tower = _Tower(retriever.encoder.model, 'extract_text', names)
    inputs = dict(text_tokens=tokens, text_mask=mask)
    # Towers that pad to all positions would take the full length for fixed.
    longest = min(int(mask.sum(1).max()), tokens.shape[1] - 1)
    short = {name: each[:, :longest] for name, each in inputs.items()}
    return Side('text', tower, short, _repeat(inputs))


def video_side(retriever: Retriever) -> Side:
    """The video tower with example inputs; see :func:`export_onnx`."""
    model = retriever.encoder.model
    transforms = retriever.encoder.pipelines.video.transforms
    height, width = _find_size(model.frame_encoder, transforms)
    counts = [getattr(each, 'num_frames', None) for each in transforms]
    count = next(filter(None, counts), 8)
    generator = torch.Generator().manual_seed(0)
    frames = torch.randint(
        256,
        (3, count, 3, height, width),
        dtype=torch.uint8,
        generator=generator,
    )
    mask = torch.ones(3, count, dtype=torch.bool)
    # Video models read a fixed number of frames.
    is_free = getattr(model.frame_encoder, 'num_frames', None) is None
    if is_free:
        mask[1, count // 2 + 1 :] = False
    tower = _Tower(model, 'extract_video', ('frames', 'frame_mask'))
    inputs = dict(frames=frames, frame_mask=mask)
    others = _repeat(inputs)
    if is_free and count > 1:
        others = {name: each[:, :-1] for name, each in others.items()}
    return Side('video', tower, inputs, others)


def _repeat(inputs: dict[str, Tensor]) -> dict[str, Tensor]:
    return {
        name: each.repeat(3, *[1] * (each.ndim - 1))
        for name, each in inputs.items()
    }


def _find_size(encoder: object, transforms: list) -> tuple[int, int]:
    """Height and width of the frames."""
    size = getattr(encoder, 'image_size', None)
    for each in transforms:
        if size is None and getattr(each, 'crop_size', None):
            width, height = each.crop_size
            size = height, width
    if size is None:
        raise SetupError(
            'the size of the frames is not known: end the test pipeline with '
            "dict(type='mmaction.CenterCrop', crop_size=224)"
        )
    return size


def _write(side: Side, path: Path) -> None:
    free = torch.export.Dim.DYNAMIC
    shape = {0: free, 1: free} if side.has_free_length else {0: free}
    arguments = tuple(side.inputs.values())
    with _quiet(), torch.no_grad():
        try:
            torch.onnx.export(
                side.module.eval(),
                arguments,
                str(path),
                input_names=list(side.inputs),
                output_names=list(OUTPUTS),
                # One entry for *inputs.
                dynamic_shapes=(tuple(shape for _ in arguments),),
                dynamo=True,
                external_data=True,
                verbose=False,
            )
        except (torch.onnx.OnnxExporterError, RuntimeError) as error:
            raise SetupError(
                f'the {side.name} side of this model cannot be written as '
                f'ONNX: {first_line(error.__cause__ or error)}'
            ) from error


def _finish(path: Path, pooled: Path) -> None:
    """Drop stack traces of this machine, and write the graph of ``pooled``.

    It is the same graph with one output and the same file of weights.
    """
    import onnx

    model = onnx.load(path, load_external_data=False)
    for node in (*model.graph.node, *model.graph.value_info, model.graph):
        del node.metadata_props[:]
    onnx.save(model, path)
    kept = [each for each in model.graph.output if each.name == 'pooled']
    del model.graph.output[:]
    model.graph.output.extend(kept)
    onnx.save(model, pooled)


def _compare(side: Side, path: Path) -> float:
    """Largest difference from PyTorch, for other rows and lengths too."""
    import onnxruntime

    session = onnxruntime.InferenceSession(
        path, providers=['CPUExecutionProvider']
    )
    names = [each.name for each in session.get_outputs()]
    worst = 0.0
    row = {name: each[:1] for name, each in side.inputs.items()}
    for inputs in (side.inputs, row, side.others):
        with torch.no_grad():
            found = side.module(*inputs.values())
        wanted = dict(zip(OUTPUTS, found, strict=True))
        feed = {name: each.numpy() for name, each in inputs.items()}
        given = dict(zip(names, session.run(names, feed), strict=True))
        real = wanted['mask']
        for name, value in given.items():
            difference = wanted[name] != torch.from_numpy(value)
            if value.dtype != bool:
                difference = (wanted[name] - torch.from_numpy(value)).abs()
            if name == 'tokens':
                difference = difference[real]
            worst = max(worst, float(difference.float().max()))
    if not worst <= TOLERANCE:
        raise SetupError(
            f'{path} differs from PyTorch by {worst:.2g}, which is more than '
            f'{TOLERANCE}: do not use it'
        )
    return worst


@contextmanager
def _quiet() -> Iterator[None]:
    """Without the exporter's remarks on packages that are not needed."""
    logger: Any = logging.getLogger('torch.onnx')
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter('ignore')
            yield
    finally:
        logger.setLevel(level)
