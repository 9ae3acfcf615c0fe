"""The table of all methods says what the weights files hold, and the README says the same."""

from pathlib import Path

from tinyldm.ladder import ladder
from tinyldm.weights import read_weights


def test_the_ladder_counts_what_the_files_hold():
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in ladder(6).splitlines()]
    assert len(rows) == 2 + 6 and len({len(row) for row in rows}) == 1
    assert "N = 6" in rows[0][5] and "real against real" in rows[0][5]
    with_prior = next(row for row in rows if "prior" in row[0])
    files = [read_weights(name) for name in ("vqvae", "prior")]
    assert with_prior[1] == f"{sum(t.numel() for state, _ in files for t in state.values()) / 1e6:.2f}"
    assert with_prior[2] == f"{sum(story['seconds'] for _, story in files) / 60:.0f}"
    assert all(float(row[4]) > 0 and float(row[5]) > 0 for row in rows[2:])
    readme = (Path(__file__).parent.parent / "README.md").read_text()
    assert all(f"| {' | '.join(row[:4])} |" in readme for row in rows[2:])
    assert [row[0] for row in rows[2:] if row[6] != "-"] == ["latent diffusion with text"] and rows[-1][6].endswith("%")
