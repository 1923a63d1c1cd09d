"""Operations in the API: the list, one operation as JSON, long poll and event stream, cancel and retry."""
