"""What users write, for mypy alone: it is checked, not run."""

from pathlib import Path

import torch
from torch import Tensor

from mmtvr.apis import (
    Retriever,
    SearchClient,
    TextVideoSearcher,
    evaluate,
    open_searcher,
    remove_from_index,
)
from mmtvr.evaluation import RetrievalReport, TextVideoRecall
from mmtvr.evaluation.ranking import hits, ranks, text_to_video
from mmtvr.evaluation.report import to_text
from mmtvr.pretrained import load_tokenizer, resolve_pretrained
from mmtvr.structures import TokenFeatures, concatenate


def search(index: Path) -> list[str]:
    """Search by text, texts and video."""
    searcher: TextVideoSearcher = open_searcher(index, device='cpu')
    found = searcher.search('a blue star', top_k=3, where='duration < 60')
    several = searcher.search(['a', 'b'])
    alike = searcher.search(video=Path('a.mp4'), top_k=2)
    ranks_of: list[int] = [each.rank for each in found]
    ranks_of += [each.rank for row in several for each in row]
    ranks_of += [each.rank for each in alike]
    searcher.index([index / 'more'], into=index)
    remove_from_index(index, [index / 'old.mp4'])
    return [each.path for each in found]


def encode(folder: Path) -> Tensor:
    """Encode texts and videos."""
    retriever = Retriever.from_pretrained(folder, device='cpu')
    text: TokenFeatures = retriever.encode_text(['a'], batch_size=8)
    pooled: Tensor = retriever.encode_text(['a'], pooled=True, progress=True)
    video: TokenFeatures = retriever.encode_video(folder / 'a.mp4', workers=2)
    assert len(pooled) == 1
    both = concatenate([text, video]).to('cpu').select(slice(0, 1))
    return retriever.similarity(both, ['a.mp4'])


def measure(scores: Tensor) -> float:
    """Evaluate scores."""
    print(to_text(evaluate('scores.npz', ties='expected', out=Path('out'))))
    ids = torch.arange(len(scores))
    placement = text_to_video(scores, ids, ids)
    first = ranks(placement, 'optimistic').mean() + hits(placement, 1).mean()
    TextVideoRecall(ties='expected')
    RetrievalReport(about={'frames': '12'})
    return float(first)


def load(name: str) -> int:
    """Load what is pretrained."""
    print(resolve_pretrained(name))
    return len(load_tokenizer(name))


def ask(client: SearchClient) -> None:
    """Ask a page."""
    print(client.search('a dog'))
