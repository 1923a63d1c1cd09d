"""What the pages of drafts show: steps, progress, problems, changes against the published version, history."""
