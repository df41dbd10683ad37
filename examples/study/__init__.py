"""Parts of the ablation study, one question a file."""
