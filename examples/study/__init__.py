"""The study of `ablation.py`: what each constraint buys, seed by seed."""
