"""The space of a sweep is checked before anything starts, and searched the same way every time."""

import pytest
from ray import tune

from genlib import InputError, PointDiffusion
from tuning.space import looks, settings
from tuning.sweep import Sweep

TINY = PointDiffusion.preset("tiny", samples=100, likelihood_points=20)
SPACE = {"schedule": ["exp3", "exp5"], "sampling_steps": [2, 4, 8]}


def sweep(**given):
    return Sweep(**{"name": "a sweep", "study": TINY, "space": SPACE, "metric": "sliced_wasserstein", **given})


def test_evaluation_fields_share_one_training():
    assert looks(TINY, SPACE) == [{"sampling_steps": steps} for steps in (2, 4, 8)]
    assert settings(TINY, SPACE, search="grid") == [{"schedule": "exp3"}, {"schedule": "exp5"}]


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"space": {"shedule": ["exp3"]}}, "no field 'shedule'"),
        ({"space": {"schedule": ["exp3", "exp7"]}}, "schedule: got 'exp7'"),
        ({"space": {"width": []}}, "'width' no values"),
        ({"space": {"width": 64}}, "give a list of values"),
        ({"space": {"seed": [0, 1]}}, "give seeds to the sweep"),
        ({"space": {"learning_rate": tune.uniform(-1, 1)}}, "learning_rate: got -1"),
        ({"space": {"width": tune.uniform(8, 16)}}, r"width: got \d+\.\d+; allowed is an integer"),
        ({"space": {"width": tune.sample_from(lambda: 8)}}, "its range cannot be checked"),
        ({"space": {"sampling_steps": tune.randint(1, 5)}}, "only looks at a trained model"),
        ({"space": {"learning_rate": tune.loguniform(1e-4, 1e-2)}}, "search 'random' or 'optuna'"),
        ({"search": "random"}, "needs a number of runs"),
        ({"seeds": ()}, "at least one seed"),
        ({"seeds": (-1,)}, r"Sweep\.seeds: got \(-1,\); allowed is a list, each an integer at least 0"),
        ({"space": {"classes": [0, 4]}}, "classes: got 4"),
        ({"space": {"width": [8, 8.0]}}, "'width' the value 8 twice"),
        ({"space": {"width": tune.choice([])}}, "'width' no values"),
        ({"space": {"width": tune.choice([8, 8])}, "search": "random", "runs": 1}, "'width' the value 8 twice"),
        ({"space": {"learning_rate": tune.uniform(0.2, 0.1)}}, "the first must be the smaller"),
        ({"space": {}}, "a dictionary that names at least one field"),
        ({"space": ["width"]}, "a dictionary that names at least one field"),
        ({"study": PointDiffusion}, r"Sweep\.study: got .* allowed is a study"),
        ({"name": None}, r"Sweep\.name: got None; allowed is a text"),
        ({"metric": 1}, r"Sweep\.metric: got 1; allowed is a text"),
        ({"mode": "minimise"}, r"Sweep\.mode: got 'minimise'; allowed is one of min, max"),
        ({"search": "bayes", "runs": 2}, r"Sweep\.search: got 'bayes'; allowed is one of grid, random, optuna"),
        ({"stopping": "hyperband"}, r"Sweep\.stopping: got 'hyperband'; allowed is one of none, asha, median"),
        ({"runs": -1}, r"Sweep\.runs: got -1; allowed is an integer of at least 0"),
        ({"runs": 2.5}, r"Sweep\.runs: got 2\.5"),
        ({"confirm": -1}, r"Sweep\.confirm: got -1; allowed is an integer of at least 0"),
        ({"minutes": -5}, r"Sweep\.minutes: got -5; allowed is a number of at least 0"),
        ({"minutes": float("nan")}, r"Sweep\.minutes: got nan"),
        ({"seeds": (0, 1, 0)}, "each once"),
        ({"seeds": 0}, r"Sweep\.seeds: got 0"),
        ({"sedes": (0, 1)}, "Sweep has no field 'sedes': did you mean 'seeds'"),
    ],
)
def test_spaces_that_do_not_fit_are_refused_before_anything_starts(given, said):
    with pytest.raises(InputError, match=said):
        sweep(**given)


def test_a_sweep_without_what_it_needs_says_so():
    with pytest.raises(InputError, match="a sweep needs a metric: give name, study, space, metric"):
        Sweep(name="a sweep", study=TINY, space=SPACE)


def test_a_random_search_is_the_same_every_time_and_tries_nothing_twice():
    space = {"learning_rate": tune.loguniform(1e-4, 1e-2), "schedule": ["exp3", "exp5"]}
    first = settings(TINY, space, search="random", runs=6, seed=1)
    assert first == settings(TINY, space, search="random", runs=6, seed=1)
    assert first != settings(TINY, space, search="random", runs=6, seed=2)
    assert all(1e-4 <= setting["learning_rate"] <= 1e-2 for setting in first)
    assert len(settings(TINY, {"schedule": ["exp3", "exp5"]}, search="random", runs=9)) == 2
