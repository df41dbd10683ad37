"""README's lines for a loop of one's own run as they are pasted."""

import re
from pathlib import Path

README = Path(__file__).parents[1] / "README.md"


def test_the_lines_for_a_loop_of_ones_own_run():
    text = README.read_text(encoding="utf-8")
    (own,) = re.findall(r"<!-- the first block stands for your own code\n(.*?)-->", text, re.S)
    pasted = re.findall(r"```python\n(.*?)```", text, re.S)
    assert len(pasted) == 2
    names = {}
    for code in (own, *pasted):
        exec(code, names)
    assert names["total"].isfinite()
    assert all(weight.grad is not None for weight in names["model"].parameters())
    assert 0 < names["mad"].compute() < 0.4
    assert names["pit"].compute().shape == names["z_spec"].shape
