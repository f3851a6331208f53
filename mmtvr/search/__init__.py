"""Find videos by text: an index on disk or in an engine, two stages."""
