"""What an evaluation reads, in the words of help and messages."""

SCORES_FORMATS = (
    'a .npy with scores (texts, videos); or a .npz with scores, or with text '
    'and video, embeddings (N, D) to be compared by cosine, and optionally '
    'text_video_ids and video_ids; or with --qrels a run of TREC or mteb'
)
RUN_FORMATS = (
    'lines of TREC, `query Q0 document rank score tag`; or JSON, '
    '{query: {document: score}}, predictions of mteb included'
)
QRELS_FORMATS = (
    'lines of TREC, `query 0 document relevance`; a table (.tsv) or .jsonl '
    'with query-id, corpus-id and score, as in BEIR and mteb; JSON, {query: '
    '{document: relevance}}; or a folder with qrels/test.tsv or qrels.jsonl, '
    'and corpus.jsonl'
)
