"""The towers as ONNX graphs give what PyTorch gives."""

import numpy as np
import pytest
import torch

from mmtvr.apis import Retriever, onnx_export
from mmtvr.cli.main import main
from mmtvr.errors import SetupError

EXTRA = "needs the extra 'onnx'"
pytest.importorskip('onnxscript', reason=EXTRA)
onnxruntime = pytest.importorskip('onnxruntime', reason=EXTRA)

TEXTS = ['a dog', 'a bird', 'a cat']


def run(path, **inputs):
    """Outputs by name."""
    session = onnxruntime.InferenceSession(
        path, providers=['CPUExecutionProvider']
    )
    names = [each.name for each in session.get_outputs()]
    return dict(zip(names, session.run(None, inputs), strict=True))


@pytest.mark.slow
def test_the_graphs_agree_with_the_retriever(
    tiny_config, checkpoint, tiny_videos, tmp_path, capsys, monkeypatch
):
    """Of a folder, by one command; other rows and lengths than at export."""
    folder = tmp_path / 'model'
    arguments = [str(tiny_config), str(checkpoint), '--into', str(folder)]
    assert main(['export', *arguments, '--onnx']) == 0
    assert capsys.readouterr().out.count('of PyTorch') == 4
    retriever = Retriever.from_pretrained(folder, device='cpu')
    encoder = retriever.encoder

    # A caption as long as it is, and padded to other lengths.
    wanted = retriever.encode_text(TEXTS)
    packed = encoder.pipelines.text(dict(text=TEXTS))['inputs']
    longest = int(packed['token_mask'].sum(1).max())
    for length in (longest, longest + 1):
        found = run(
            folder / 'onnx/text.onnx',
            text_tokens=packed['tokens'][:, :length].numpy(),
            text_mask=packed['token_mask'][:, :length].numpy(),
        )
        pooled, mask = wanted.pooled.numpy(), wanted.mask[:, :length].numpy()
        np.testing.assert_allclose(found['pooled'], pooled, atol=1e-4)
        tokens = wanted.tokens[:, :length].numpy()
        np.testing.assert_allclose(
            found['tokens'][mask], tokens[mask], atol=1e-4
        )
        assert np.array_equal(found['mask'], mask)

    path = tiny_videos / 'videos/video1.mp4'
    read = encoder.pipelines.video(dict(filename=str(path)))['inputs']
    found = run(
        folder / 'onnx/video_pooled.onnx',
        frames=read['frames'][None].numpy(),
        frame_mask=read['frame_mask'][None].numpy(),
    )
    assert list(found) == ['pooled']
    wanted = retriever.encode_video([path], pooled=True)
    np.testing.assert_allclose(found['pooled'], wanted.numpy(), atol=1e-4)

    # Nothing of this machine is in the graphs.
    for graph in (folder / 'onnx').glob('*.onnx'):
        assert b'site-packages' not in graph.read_bytes()
    side = onnx_export.text_side(retriever)
    monkeypatch.setattr(onnx_export, 'TOLERANCE', -1.0)
    with pytest.raises(SetupError, match='differs from PyTorch'):
        onnx_export._compare(side, folder / 'onnx/text.onnx')


def test_texts_of_several_rows_have_no_graph(tiny_config, checkpoint):
    from mmengine.config import Config

    config = Config.fromfile(tiny_config)
    for step in config.test_dataloader.dataset.pipeline:
        if step.type == 'mmtvr.TokenizeText':
            step.long_text = 'sentences'
    retriever = Retriever.from_config(config, checkpoint, device='cpu')
    with pytest.raises(SetupError, match='long_text'):
        onnx_export.text_side(retriever)


def test_the_size_of_frames_comes_from_the_model_or_the_crop():
    from types import SimpleNamespace

    crop = SimpleNamespace(crop_size=(32, 24))
    find = onnx_export._find_size
    assert find(torch.nn.Identity(), [object(), crop]) == (24, 32)
    assert find(SimpleNamespace(image_size=(8, 9)), [crop]) == (8, 9)
    with pytest.raises(SetupError, match='CenterCrop'):
        find(torch.nn.Identity(), [])
