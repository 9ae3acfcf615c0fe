"""Hostile notebooks: each earns what its functions earn, and nothing that it does reaches anything else."""

import os
import re
import time

import nbformat
import pytest

pytest.importorskip("nbgrader")

import judge
import release
import sandbox
from across import needs_a_box, no_box
from results import Student
from test_instructor import LESSONS, cell_of, exercises_of, solved

pytestmark = needs_a_box

LESSON = LESSONS[2]
COMPLETE = nbformat.read(LESSON, as_version=4)
FUNCTION = "def forward_step(x, noise, beta):\n    "
RIGHT = "return (1 - beta) ** 0.5 * x + beta ** 0.5 * noise"


def hand_in(*cells: str, answer: str | None = None):
    """Lesson 02, solved, with cells of the student's own at its beginning, and another answer to 2.1."""
    notebook = solved(release, COMPLETE, *exercises_of(COMPLETE))
    notebook.cells[5:5] = [nbformat.v4.new_code_cell(cell) for cell in cells]
    if answer is not None:
        cell_of(notebook, "ex-2-1").source = answer
    return notebook


def graded(notebook, timeout: float = 3):
    released = release.release(COMPLETE, LESSON.stem)
    return judge.grade(judge.Task(Student("ada", "Ada"), LESSON.stem, notebook, released, secret="s", timeout=timeout))


needs_bubblewrap = pytest.mark.skipif(
    bool(no_box()) or sandbox.kind() != sandbox.BUBBLEWRAP, reason="bubblewrap is not to be had here"
)

# ---------------------------------------------------------------- cells

QUIET = {  # these end by themselves; what is said of them
    "raise SystemExit": "SystemExit",
    "exit()": "",
    "raise KeyboardInterrupt": "KeyboardInterrupt",
    "x = bytearray(10**11)": "MemoryError",
    "print('x' * 100_000_000)": "printed more than 10 million",
    "while True: print('y' * 1000)": "printed more than 10 million",
    "while True:\n    try:\n        while True: pass\n    except Exception: pass": "stopped after 3 s",
    "input('name?')": "",
    "import tinyldm.checks as c\nc.same = c.agree = lambda *_: True\nc._limited = None": "",
    "import subprocess; subprocess.Popen(['sleep', '300'], start_new_session=True)": "",
    "import os\nif os.fork() == 0: pass": "",
    "%reset -f": "",
    "import os\nos.makedirs(p := os.path.expanduser('~/.ipython/profile_default/startup'), exist_ok=True)\n"
    "open(p + '/x.py', 'w').write('import os; os._exit(0)')": "",
    "for name in [n for n in globals() if not n.startswith('_')]: del globals()[name]": "RuntimeError|^$",
}
BREAKING = {  # of these the whole box must be replaced
    "import os; os._exit(0)": "ended Python",
    "import ctypes; ctypes.string_at(0)": "ended Python",
    "import os; os.closerange(0, 256)": "ended Python",
    "import builtins; builtins.isinstance = lambda *_: True": "ended Python|broke the connection",
    "import os\nfor end in range(3, 60):\n    try: os.write(end, b'\\xff' * 99)\n    except OSError: 0": "broke",
    "import signal; signal.signal(signal.SIGALRM, signal.SIG_IGN)\nwhile True: pass": "did not stop after 3 s",
    "import torch, json\ntorch.allclose = torch.equal = torch.Tensor.__eq__ = lambda *_: True\njson.dumps = None": "",
}


@pytest.mark.parametrize("cells", [QUIET, BREAKING], ids=["quiet", "breaking"])
def test_a_cell_costs_only_itself_and_the_page_says_what_it_did(cells):
    result, _ = graded(hand_in(*cells))
    assert result.points == result.of == 8
    said = dict(result.cells)
    for place, (source, text) in enumerate(cells.items(), 6):
        assert re.search(text, said.get(place, "")), f"{source}: {said.get(place)}"
    assert set(said) <= set(range(6, 6 + len(cells)))


@needs_bubblewrap
def test_nothing_of_the_teachers_is_in_reach(tmp_path):
    secret = tmp_path / "answers"
    secret.write_text("")
    look = f"""import glob, os, socket
found = [p for p in {[str(secret), str(LESSON), str(LESSON.parent.parent / "instructor")]} if os.path.exists(p)]
for top, _, files in os.walk('/'):
    if not top.startswith(('/proc', '/sys')):
        found += [f for f in files if 'forward_diffusion' in f or f.startswith('lesson_0')]
found += [p for p in os.listdir('/proc') if p.isdigit() and b'grade.py' in open(f'/proc/{{p}}/cmdline', 'rb').read()]
found += [name for name in os.environ if 'SEED' in name or 'VARIANT' in name]
for where in (('1.1.1.1', 53), ('127.0.0.1', 22)):
    try: found.append(socket.create_connection(where, 1))
    except OSError: pass
for path in ('/usr/x', '/x', os.path.dirname(os.__file__) + '/x', '/dev/x'):
    try: found.append(open(path, 'w'))
    except OSError: pass
for top, _, files in os.walk('/proc/sys'):
    found += [os.path.join(top, f) for f in files if os.access(os.path.join(top, f), os.W_OK)]
print('found', found + [f for f in ('/proc/sysrq-trigger', '/proc/1/environ') if os.access(f, os.W_OK)])"""
    result, notebook = graded(hand_in(look), timeout=30)
    assert "found []\n" in [output.get("text") for cell in notebook.cells for output in cell.get("outputs", [])]
    assert not result.cells


@pytest.mark.parametrize("how", [sandbox.BUBBLEWRAP, sandbox.LIMITS])
def test_limits_are_watched_from_outside_and_nothing_outlives_a_box(how):
    if how == sandbox.BUBBLEWRAP and sandbox.kind() != how:
        pytest.skip("bubblewrap is not to be had here")
    mark = f"{os.getpid()}.{time.time()}"
    outlive = f"import subprocess; subprocess.Popen(['sleep', '{mark}'], start_new_session=True)"
    box = sandbox.Box(how)
    wire = judge.Wire(box.end, box.watch)
    try:
        for do, details in (("begin", {"pieces": [], "names": []}), ("cell", {"source": outlive, "seconds": 5})):
            wire.send({"do": do, "with": details}, [])
            wire.receive()
        box.memory = 1
        box._looked = 0
        with pytest.raises(sandbox.Broken, match="of memory"):
            box.watch()
    finally:
        box.close()
    assert not box.folder.exists()
    for number in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open(f"/proc/{number}/cmdline", "rb") as file:
                assert mark.encode() not in file.read()
        except OSError:
            pass


# ---------------------------------------------------------------- functions

WRONG = {  # each gets nothing, and the other three exercises everything
    "import os; os._exit(0)": "ends the whole process",
    "while True: pass": "does not come to an end",
    "import torch; return torch.ones(10**10)": "memory",
    "import torch; return torch.zeros(10**8)": "",
    "a = []\n    a.append(a)\n    return a": "",
    "for _ in range(10**5): x = [x]\n    return x": "",
    "return type('E', (), {'__eq__': lambda *_: True, '__getattr__': lambda *_: lambda *a: True})()": "A tensor",
    "import torch; torch.Tensor.__eq__ = lambda *_: True; torch.sqrt = torch.Tensor.detach = None; return x": "",
    "from tinyldm.exercises import exercise; return exercise('2.1').answer(x, noise, beta)": "",
    "import gc\n    return [o for o in gc.get_objects() if type(o).__name__ == 'Exercise'][0].answer(x, 1, 2)": "",
    "import sys\n    f = sys._getframe()\n    while f:\n        for v in f.f_locals.values():\n"
    "            if type(v).__name__ == 'Peer': v.functions.clear()\n        f = f.f_back\n    return x": "",
}


@pytest.mark.parametrize("body", WRONG)
def test_a_function_earns_what_it_gives_and_spoils_nothing(body):
    result, _ = graded(hand_in(answer=FUNCTION + body))
    assert [one.points for one in result.exercises] == [0, 2, 2, 2, None]
    assert re.search(WRONG[body] or ".", result.exercises[0].sentence)


def test_answers_that_explain_one_function_are_out_of_reach_of_the_next():
    notebook = hand_in(answer=FUNCTION + "return x")  # wrong, so that it must be explained
    for name, function in (("ex-2-2", "add_noise"), ("ex-2-3", "remove_noise"), ("ex-2-4", "balance")):
        look = "import pathlib, sys\n    for place in [pathlib.Path.home(), pathlib.Path('/tmp')]:\n"
        look += (
            "        for file in place.rglob('lesson_02.py'):\n            sys.path.insert(0, str(file.parents[1]))\n"
        )
        look += f"            from exercises import lesson_02\n            return lesson_02.{function}(*all)\n"
        cell_of(notebook, name).source = f"def {function}(*all):\n    {look}    return 0.0"
    result, _ = graded(notebook)
    assert [one.points for one in result.exercises] == [0, 0, 0, 0, None]


def test_inputs_that_are_not_in_the_check_tell_what_is_written_down():
    number = judge.exercise("2.1")
    known = [(case["x"].flatten()[0].item(), number.answer(**case).tolist()) for case in number.inputs()]
    answer = f"import torch\n{FUNCTION}return torch.tensor(dict({known})[x.flatten()[0].item()])"
    result, _ = graded(hand_in(answer=answer))
    assert result.exercises[0].points == 1 and "wrong for others" in result.exercises[0].sentence


FOUND = {  # right, in forms that people hand in
    "after": f"print(undefined)\n{FUNCTION}{RIGHT}",
    "no Python": f"print('hello'\n\n{FUNCTION}{RIGHT}",
    "helper below": f"{FUNCTION}return half(1 - beta) * x + half(beta) * noise\ndef half(a):\n    return a ** 0.5",
    "stub below": f"{FUNCTION}{RIGHT}\n{FUNCTION}raise NotImplementedError('exercise 2.1: one step')",
    "lambda": f"forward_step = lambda x, noise, beta: {RIGHT.removeprefix('return ')}",
    "class": f"class Step:\n    def __call__(self, x, noise, beta):\n        {RIGHT}\nforward_step = Step()",
    "decorated": f"import torch\n@torch.no_grad()\n{FUNCTION}{RIGHT}",
    "hidden": f"torch, min = None, 3\ntorch = 0\n{FUNCTION}a = torch.tensor(beta)\n"
    "    return (1 - a).sqrt() * x + a.sqrt() * noise",
    "star": f"def forward_step(*all):\n    x, noise, beta = all\n    {RIGHT}",
}


@pytest.mark.parametrize("source", FOUND.values(), ids=FOUND)
def test_a_right_function_counts_in_any_form(source):
    result, _ = graded(hand_in(answer=source))
    assert result.points == 8


def test_functions_count_wherever_they_stand_and_the_page_says_where():
    notebook = hand_in()
    first, second = cell_of(notebook, "ex-2-1"), cell_of(notebook, "ex-2-2")
    everything = "\n\n".join([first.source, second.source])
    first.source = FUNCTION + "return x"
    second.source = "def add_noise(*_):\n    raise NotImplementedError('exercise 2.2: the jump')"
    notebook.cells += [
        nbformat.v4.new_code_cell(everything),
        nbformat.v4.new_raw_cell(cell_of(notebook, "ex-2-3").source),
    ]
    notebook.cells.remove(cell_of(notebook, "ex-2-3"))
    result, _ = graded(notebook)
    count = len(notebook.cells)
    assert result.points == 8
    assert [one.place for one in result.exercises[:3]] == [f"cell {count - 1}", f"cell {count - 1}", f"cell {count}"]
    assert any("no code cell" in note for note in result.notes)


# ---------------------------------------------------------------- the side that can be trusted

WORKER = "import gc\nme = [o for o in gc.get_objects() if type(o).__name__ == 'Worker'][0]\n"
WORKER += "code = type(me).cell.__globals__\n"
LIES = {  # messages that no worker would send, and things that a page or a file cannot hold
    "print(chr(0xd800))": "",
    "raise ValueError(chr(0xd800))": r"ValueError: \?",
    WORKER + "code['_displayed'] = lambda *_: [5, None, []]": "cannot be read",
    WORKER + "code['_displayed'] = lambda *_: [{'output_type': 'stream', 'name': 7, 'text': 5}]": "cannot be read",
    WORKER + "code['_displayed'] = lambda *_: [{'output_type': 'x', 'data': {'text/html': 5}}]": "cannot be read",
    WORKER + "code['_displayed'] = lambda *_: [{'output_type': 'x', 'data': {'a': 'a' * 7_000_000}}]": "cannot be read",
    WORKER + "code['_told'] = lambda *_: 7\n1 / 0": "cannot be read",
    WORKER + "me._found = lambda *_: [['forward_step', 0, [['x', 99, False]], '']]": "cannot be read",
    WORKER + "me._found = lambda *_: [[[], 0, 5, '']]": "cannot be read",
}


def test_whatever_a_box_says_costs_its_cell_and_can_be_kept(tmp_path):
    result, notebook = graded(hand_in(*LIES))
    said = dict(result.cells)
    assert result.points == 8
    assert all(re.search(text or "^$", said.get(at, "")) for at, text in enumerate(LIES.values(), 6)), said
    result.write(tmp_path)
    nbformat.writes(notebook).encode()


def test_the_answers_are_not_in_the_box_while_anything_is_judged():
    thief = (
        "import os, sys\ndef add_noise(x0, noise, t, alphas_cumprod):\n    import tinyldm\n"
        "    tinyldm.__path__.insert(0, os.path.expanduser('~/late'))\n    del sys.modules['tinyldm.exercises']\n"
        "    from tinyldm.exercises import exercise\n    return exercise('2.2').answer(x0, noise, t, alphas_cumprod)"
    )
    notebook = hand_in(answer=f"{FUNCTION}return x")
    cell_of(notebook, "ex-2-2").source = thief
    result, _ = graded(notebook)
    assert [one.points for one in result.exercises[:3]] == [0, 0, 2]
    assert "never used" in result.exercises[0].sentence  # explained nevertheless


def test_of_many_functions_of_one_name_the_last_are_tried():
    many = "\n".join(f"def forward_step(x, noise, beta): return {number} * x" for number in range(judge.TRIES + 4))
    result, _ = graded(hand_in(many, answer=f"{FUNCTION}return x"))
    assert result.exercises[0].points == 0
    assert f"`forward_step` is defined {judge.TRIES + 5} times: the last {judge.TRIES} were tried" in result.notes


def test_cells_that_say_they_are_another_exercise_are_cells_of_the_students_own():
    notebook = hand_in()
    for kind, name in (("markdown", "ex-3-1"), ("markdown", "ex-2-1"), ("code", "ex-9-1-check"), ("code", "ex-9-1")):
        cell = nbformat.from_dict(cell_of(hand_in(), "ex-2-1"))
        cell.metadata.nbgrader.grade_id, cell.source = name, "1"
        cell.cell_type = kind
        notebook.cells.append(cell)
    result, _ = graded(notebook)
    assert [one.points for one in result.exercises] == [2, 2, 2, 2, None]


TELL = "def knowing(denoise, known, mask):\n    import gc, json, struct, time\n"
TELL += (
    "    peer = [o for o in gc.get_objects() if type(o).__name__ == 'Peer'][0]\n    send = peer.wire.end.sendall\n    "
)
NEVER = {  # of these, none reads what it is sent, and none ever pauses
    "one byte now and then": "send(b'\\xff\\xff\\xff\\x00')\n    while True: send(b' '), time.sleep(0.05)",
    "calls without end": "while True:\n        try:\n            while True: denoise(known, 5)\n"
    "        except BaseException: pass",
    "calls without reading": "blob, shape = known.numpy().tobytes(), list(known.shape)\n"
    "    values = [['list', ['tensor', 0, 'torch.float32', shape, False], ['int', '5']]]\n"
    "    ask = {'do': 'call', 'function': denoise.__number__[1], 'blobs': [len(blob)]}\n"
    "    text = json.dumps(ask | {'values': values + [['dict']]}).encode()\n"
    "    while True: send((struct.pack('<I', len(text)) + text + blob) * 50)",
    "sizes that lie": "peer._pack_tensor = lambda value, blobs: (blobs.append(b''), "
    "['tensor', 0, 'torch.float32', [2 * 10**9], False])[1]\n    return denoise(known, known)",
}


@pytest.mark.parametrize("body", NEVER.values(), ids=NEVER)
def test_a_function_cannot_hold_up_its_judge(body):
    box = sandbox.Box()
    peer = judge.Peer(judge.Wire(box.end, box.watch), most_seconds=1)
    try:
        for do, details in (
            ("begin", {"pieces": [], "names": ["knowing"]}),
            ("cell", {"source": TELL + body, "seconds": 5}),
            ("judge", {"number": 0}),
        ):
            peer.wire.send({"do": do, "with": details}, [])
            reply, _ = peer.wire.receive()
        case = judge.exercise("8.3").inputs()[0]
        function = peer.function(reply["ready"], "knowing", [[name, 1, False] for name in case])
        before = time.monotonic()
        with pytest.raises(judge.Lost):
            function(*case.values())
        assert time.monotonic() < before + 20
    finally:
        box.close()
