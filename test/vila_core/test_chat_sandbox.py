"""Chat templates of strangers: what they do wrong is one line, and no work or memory is without bound."""

from __future__ import annotations

import threading

import pytest

from vila_core import chat_sandbox
from vila_core.chat_sandbox import MOST_SOURCE, render_template
from vila_core.errors import ConfigError
from vila_core.random_checkpoints.tokenizer import QWEN2_TEMPLATE

TURNS = [{"role": "user", "content": "Where?"}, {"role": "assistant", "content": "Here."}] * 3
NS = "{% set ns = namespace(x='a', l=[1], n=7) %}{% for i in range(60) %}"
LONG = "{% set s = 'a' * 1000000 %}"

WRONG = {
    "syntax": ("{% if %}", "line 1"),
    "undefined": ("{{ nothing.at.all }}", "'nothing' is undefined"),
    "types": ("{{ 1 + 'a' }}", "unsupported operand"),
    "zero": ("{{ 1 / 0 }}", "division by zero"),
    "its own complaint": ("{{ raise_exception('no\nsystem') }}", "no system"),
    "include": ("{% include 'other' %}", "no loader"),
    "private": ("{{ ''.__class__.__mro__ }}", "unsafe"),
    "append": ("{{ messages.append(1) }}", "unsafe"),
    "method": ("{{ (1).to_bytes(10 ** 10) }}", "to_bytes is not allowed"),
    "filter": ("{{ 'a'|center(10 ** 10) }}", "No filter named 'center'"),
    "blocks": ("{% for x in [1] %}" * 60 + "{% endfor %}" * 60, "too many"),
    "parentheses": ("{{ " + "(" * 20_000 + "1" + ")" * 20_000 + " }}", "nested"),
    "length": ("a" * (MOST_SOURCE + 1), "more than"),
}
ENDLESS = {
    "range": "{% for i in range(10 ** 12) %}x{% endfor %}",
    "loops": "{% for i in range(99999) %}{% for j in range(99999) %}{% endfor %}{% endfor %}",
    "filtered loops": "{% set r = range(99999) %}{% for i in r %}{% for j in r if false %}{% endfor %}{% endfor %}",
    "recursive loop": "{% for i in [[[]]] recursive %}{{ loop(i) }}{% endfor %}",
    "macro": "{% macro f(n) %}{{ f(n) }}{% endmacro %}{{ f(1) }}",
    "two macros": "{% macro f(n) %}{% if n %}{{ f(n - 1) }}{{ f(n - 1) }}{% endif %}{% endmacro %}{{ f(60) }}",
    "product": "{{ 'a' * 10 ** 12 }}",
    "list": "{{ [0] * 10 ** 12 }}",
    "power": "{{ 10 ** 10 ** 10 ** 10 }}{{ 2 ** 10 ** 9 }}",
    "squares": NS + "{% set ns.n = ns.n * ns.n %}{% endfor %}{{ ns.n }}",
    "join of itself": NS + "{% set ns.x = ns.x ~ ns.x %}{% endfor %}{{ ns.x }}",
    "sum of itself": NS + "{% set ns.x = ns.x + ns.x %}{% endfor %}{{ ns.x }}",
    "block of itself": NS + "{% set ns.x %}{{ ns.x }}{{ ns.x }}{% endset %}{% endfor %}",
    "list of itself": NS + "{% set ns.l = [ns.l, ns.l] %}{% endfor %}{{ ns.l }}",
    "object of itself": NS + "{% set ns.l = {'a': ns.l, 'b': ns.l} %}{% endfor %}{{ ns.l }}",
    "namespaces": NS + "{% set ns.l = namespace(a=ns.l, b=ns.l) %}{% endfor %}{{ ns.l }}",
    "format": "{{ '%1000000000d' % 1 }}",
    "star": "{{ '%*d' % (10 ** 9, 1) }}",
    "format method": "{{ '{:>10000000000}'.format(1) }}",
    "replace": LONG + "{{ s.replace('a', s) }}",
    "replace filter": LONG + "{{ s|replace('a', s) }}",
    "join": LONG + "{{ s.join(s) }}",
    "join filter": LONG + "{{ s|join(s) }}",
    "indent": "{{ 'a\nb'|indent(10 ** 10) }}",
    "tojson": "{{ [1]|tojson(indent=10 ** 10) }}",
    "slices": LONG + "{% for i in range(99999) %}{% for j in range(9) %}{% set y = s[1:] %}{% endfor %}{% endfor %}",
    "comparisons": LONG + "{% for i in range(99999) %}{% for j in range(9) %}{{ 'b' in s }}{% endfor %}{% endfor %}",
    "copies": "{% set r = range(99999)|list %}{% for i in range(99999) %}{% set y = r|list %}{% endfor %}",
    "output": "{% for i in range(99999) %}{{ 'a' * 1000 }}{% endfor %}",
}


@pytest.mark.parametrize("name", WRONG)
def test_what_a_template_does_wrong_is_one_line(name) -> None:
    source, words = WRONG[name]
    with pytest.raises(ConfigError, match=words) as caught:
        render_template(source, TURNS, True)
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 500


@pytest.fixture
def less_work(monkeypatch) -> None:
    """A tenth of what templates may do: what ends them is the same, and so it is soon there."""
    monkeypatch.setattr(chat_sandbox, "MOST_WORK", chat_sandbox.MOST_WORK // 10)


@pytest.mark.parametrize("name", ENDLESS)
def test_work_and_memory_are_bounded(name, less_work) -> None:
    with pytest.raises(ConfigError, match="the chat template fails"):
        render_template(ENDLESS[name], TURNS, True)


def test_they_are_bounded_in_a_thread_and_for_each_rendering_anew(less_work) -> None:
    source, said = "{% for i in range(n|default(9000)) %}{{ i % 7 }}{% endfor %}", []

    def run() -> None:
        said.extend(len(render_template(source, TURNS, True)) for _ in range(5))
        try:
            render_template(ENDLESS["loops"], TURNS, True)
        except ConfigError as err:
            said.append(str(err))

    threads = [threading.Thread(target=run) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert said.count(9000) == 15 and sum("more work" in str(each) for each in said) == 3


@pytest.mark.parametrize(
    ("source", "text"),
    [
        ("{% for m in messages[:2] %}{{ loop.index0 }}{{ m.role|upper ~ ': ' ~ m['content'] }} {% endfor %}", None),
        ("{{ messages|map(attribute='role')|join(',') }}", "user,assistant,user,assistant,user,assistant"),
        ("{{ messages|selectattr('role', 'equalto', 'user')|list|length }}", "3"),
        ("{{ {'a': ['é', 1, none]}|tojson }}", '{"a": ["é", 1, null]}'),
        ("{{ {'a': 1}|tojson(indent=2) }}", '{\n  "a": 1\n}'),
        ("{% set ns = namespace(n=0) %}{% for m in messages %}{% set ns.n = ns.n + 1 %}{% endfor %}{{ ns.n }}", "6"),
        ("{% macro say(m) %}[{{ m.content.strip() }}]{% endmacro %}{{ say(messages[-1]) }}", "[Here.]"),
        ("{{ messages[0].content.split('e')[-1].replace('?', '!') }}{{ '%s' % 'a' }}{{ none }}", "!aNone"),
        ("{% for k, v in {'b': 1, 'a': 2}|dictsort %}{{ k }}{{ v }}{% endfor %}", "a2b1"),
        ("{% for i in range(9) %}{% if i == 2 %}{% break %}{% endif %}{{ i }}{% endfor %}", "01"),
        ("{{ 'user' in ['user', 'tool'] }}{{ tools is defined }}{{ x|default('d') }}", "TrueFalsed"),
        ("{{ 'a' if add_generation_prompt else 'b' }}{{ 7 // 2 }}{{ (1, 2)[0] }}{{ messages[1:]|length }}", "a315"),
    ],
)
def test_what_chat_templates_do_is_done(source, text) -> None:
    assert render_template(source, TURNS, True) == (text or "0USER: Where? 1ASSISTANT: Here. ")


def test_a_long_conversation_is_no_more_work_than_is_allowed() -> None:
    turns = [{"role": ("user", "assistant")[n % 2], "content": "word " * 100} for n in range(2000)]
    assert len(render_template(QWEN2_TEMPLATE, turns, True)) > 1_000_000
