"""Fixtures that several test modules share."""

import json
from pathlib import Path

import pytest

SPECIAL = ('<|startoftext|>', '<|endoftext|>')
WHOLE_WORDS = ('a', 'is', 'the', 'man', 'young', 'red', 'dog', 'runs')


@pytest.fixture(scope='session')
def shared_dir() -> Path:
    """Real data beside the project; tests that use it skip without it."""
    path = Path(__file__).resolve().parents[2] / 'shared'
    if not path.is_dir():
        pytest.skip('the folder ../shared with real data is absent')
    return path


def tiny_vocabulary() -> tuple[dict[str, int], list[tuple[str, str]]]:
    """Byte-level BPE as CLIP's: every text tokenizes, few words are whole.

    Words outside ``WHOLE_WORDS`` fall into one piece per byte. The end token
    has the highest id, as in OpenAI's vocabulary.
    """
    from tokenizers.pre_tokenizers import ByteLevel

    alphabet = sorted(ByteLevel.alphabet())
    pieces = alphabet + [letter + '</w>' for letter in alphabet]
    merges = []
    for word in WHOLE_WORDS:
        letters = [*word[:-1], word[-1] + '</w>']
        left = letters[0]
        for right in letters[1:]:
            if (left, right) not in merges:
                merges.append((left, right))
                pieces.append(left + right)
            left += right
    pieces += SPECIAL
    return {piece: index for index, piece in enumerate(pieces)}, merges


@pytest.fixture(scope='session')
def tiny_clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder with a random CLIP and its tokenizer, in Hugging Face's layout.

    Width 32, two layers and two heads in both towers, projection 32, images
    of 32x32 in patches of 8, 77 positions. Loads through ``from_pretrained``.
    """
    import torch
    from transformers import CLIPConfig, CLIPModel, CLIPTokenizerFast

    folder = tmp_path_factory.mktemp('tiny_clip')
    vocabulary, merges = tiny_vocabulary()
    start, end = (vocabulary[token] for token in SPECIAL)
    CLIPTokenizerFast(
        vocab=vocabulary, merges=merges, model_max_length=77
    ).save_pretrained(folder)
    tower = dict(
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=2,
        projection_dim=32,
    )
    text = dict(
        vocab_size=len(vocabulary),
        max_position_embeddings=77,
        bos_token_id=start,
        eos_token_id=end,
        pad_token_id=end,
    )
    config = CLIPConfig(
        text_config={**tower, **text},
        vision_config={**tower, 'image_size': 32, 'patch_size': 8},
        projection_dim=32,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        CLIPModel(config).save_pretrained(folder)
    processor = dict(
        image_processor_type='CLIPImageProcessor',
        size=dict(shortest_edge=32),
        crop_size=dict(height=32, width=32),
        image_mean=[0.48145466, 0.4578275, 0.40821073],
        image_std=[0.26862954, 0.26130258, 0.27577711],
    )
    (folder / 'preprocessor_config.json').write_text(json.dumps(processor))
    return folder
