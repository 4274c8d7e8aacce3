"""A small probabilistic dependency grammar of an invented language with two domains.

All words and trees are generated; nothing was taken from a corpus. The two domains,
`"source"` and `"target"`, share the syntax (which categories depend on which, and most
of the closed-class words) and differ in

* the lexicon: nine of ten nouns, verbs, adjectives and adverbs belong to one domain
  alone, and their frequencies fall as 1 / rank^0.8 in both;
* the rules: the target puts the object before the verb and the adjective after the noun
  more often, uses fewer determiners, and attaches prepositional phrases otherwise.

Nouns are animate, things or places, and verbs are intransitive, transitive or take a
clause; these classes decide arguments and attachments, so a word's distribution, not
only its category, tells about its tree. Phrases that depend on a noun before the verb
are sometimes moved behind the verb, which makes the tree non-projective.
"""

from __future__ import annotations

import bisect
import dataclasses
import itertools
import random
from collections.abc import Sequence

from tfnes.datasets.sentence import Sentence

DOMAINS = ("source", "target")


@dataclasses.dataclass(frozen=True)
class Rules:
    """The probabilities in which the two domains differ."""

    subject_first: float
    object_first: float
    adjective_first: float
    auxiliary_first: float
    adverb_first: float
    determiner: float
    pronoun: float
    adjective: float
    noun_phrase_pp: float
    verb_pp: float
    fronted_pp: float
    clause: float
    coordination: float
    extraposition: float


_RULES = {
    "source": Rules(
        subject_first=0.90,
        object_first=0.12,
        adjective_first=0.80,
        auxiliary_first=0.95,
        adverb_first=0.30,
        determiner=0.50,
        pronoun=0.20,
        adjective=0.35,
        noun_phrase_pp=0.30,
        verb_pp=0.60,
        fronted_pp=0.12,
        clause=0.20,
        coordination=0.18,
        extraposition=0.30,
    ),
    "target": Rules(
        subject_first=0.78,
        object_first=0.40,
        adjective_first=0.40,
        auxiliary_first=0.80,
        adverb_first=0.55,
        determiner=0.35,
        pronoun=0.12,
        adjective=0.42,
        noun_phrase_pp=0.36,
        verb_pp=0.55,
        fronted_pp=0.25,
        clause=0.15,
        coordination=0.22,
        extraposition=0.30,
    ),
}

# Closed classes: words of both domains, then those of one alone.
_CLOSED = {
    "DET": (("el", "tu", "ano"), ("mi",), ("oru",)),
    "PRON": (("ji", "vu", "eno"), (), ("sha",)),
    "AUX": (("ha", "po"), (), ()),
    "CCONJ": (("i", "ov"), (), ()),
    "SCONJ": (("ke", "sen"), ("dum",), ("far",)),
    "ADP_NOUN": (("da", "ri"), (), ("lo",)),
    "ADP_VERB": (("en", "sup", "par"), ("tre",), ("ob",)),
    "ADP_BOTH": (("kon", "ab"), (), ()),
}
_UPOS = {"ADP_NOUN": "ADP", "ADP_VERB": "ADP", "ADP_BOTH": "ADP"}
# Open classes: number of words of one domain, and the ending that shows the category
# to a reader (a model that reads whole words cannot see it).
_OPEN = {
    "NOUN_ANIMATE": (100, "o"),
    "NOUN_THING": (130, "a"),
    "NOUN_PLACE": (60, "um"),
    "VERB_INTRANSITIVE": (50, "ir"),
    "VERB_TRANSITIVE": (90, "et"),
    "VERB_CLAUSE": (20, "ut"),
    "ADJ": (90, "il"),
    "ADV": (30, "em"),
}
_SHARED = 0.1
_ONSETS = [*"bdfgklmnprstvz", "br", "dr", "fl", "gr", "kl", "pl", "sk", "st", "tr"]
_VOWELS = "aeiou"
_CODAS = ["", "", "n", "r", "l", "s", "m"]


@dataclasses.dataclass(eq=False)
class _Word:
    """A node of the tree that is being generated, and what stands around it."""

    form: str
    upos: str
    relation: str
    head: _Word | None
    before: list[_Word] = dataclasses.field(default_factory=list)
    after: list[_Word] = dataclasses.field(default_factory=list)


class DemoGrammar:
    """Generates sentences of either domain.

    Args:
      seed: integer; decides the lexicon. The same seed gives the same language.

    Example:

        >>> from tfnes.datasets.demo_grammar import DemoGrammar
        >>> sentence = DemoGrammar(seed=1).generate("source", 1, seed=3)[0]
        >>> len(sentence.forms) == len(sentence.heads)
        True
    """

    def __init__(self, *, seed: int):
        rng = random.Random(2 * seed)
        used = {word for group in _CLOSED.values() for part in group for word in part}
        self._lexicon = {domain: {} for domain in DOMAINS}
        for category, (size, ending) in _OPEN.items():
            common = _invent(rng, round(_SHARED * size), ending, used)
            for domain in DOMAINS:
                words = common + _invent(rng, size - len(common), ending, used)
                rng.shuffle(words)
                self._lexicon[domain][category] = _Choice(words, exponent=0.8)
        for category, (common, *own) in _CLOSED.items():
            for domain, words in zip(DOMAINS, own, strict=True):
                words = [*common, *words]
                self._lexicon[domain][category] = _Choice(words, exponent=0.5)

    def generate(self, domain: str, count: int, *, seed: int) -> list[Sentence]:
        """Returns `count` sentences of 3 to 40 words, the same for the same `seed`."""
        writer = _Writer(_RULES[domain], self._lexicon[domain], random.Random(seed))
        sentences = []
        while len(sentences) < count:
            name = f"demo-{domain}-{seed}-{len(sentences) + 1}"
            sentence = writer.sentence(name)
            if 3 <= len(sentence) <= 40:
                sentences.append(sentence)
        return sentences


class _Choice:
    """Draws words with probability proportional to 1 / rank^exponent."""

    def __init__(self, words: Sequence[str], *, exponent: float):
        self.words = list(words)
        weights = [(rank + 1) ** -exponent for rank in range(len(words))]
        self.cumulative = list(itertools.accumulate(weights))

    def draw(self, rng: random.Random) -> str:
        place = rng.random() * self.cumulative[-1]
        return self.words[bisect.bisect(self.cumulative, place)]


class _Writer:
    """Expands the rules of one domain, top down."""

    def __init__(self, rules: Rules, lexicon: dict[str, _Choice], rng: random.Random):
        self.rules = rules
        self.lexicon = lexicon
        self.rng = rng

    def sentence(self, name: str) -> Sentence:
        verb = self.clause("root", None, depth=0)
        verb.after.append(_Word(".", "PUNCT", "punct", verb))
        words: list[_Word] = []
        _linearize(verb, words)
        place = {id(word): i + 1 for i, word in enumerate(words)}
        return Sentence(
            forms=tuple(word.form for word in words),
            upos=tuple(word.upos for word in words),
            heads=tuple(place[id(w.head)] if w.head else 0 for w in words),
            relations=tuple(word.relation for word in words),
            sent_id=name,
        )

    def clause(self, relation: str, head: _Word | None, *, depth: int) -> _Word:
        rules = self.rules
        kind = self.pick(
            VERB_INTRANSITIVE=0.3,
            VERB_TRANSITIVE=0.7 - rules.clause / (depth + 1),
            VERB_CLAUSE=rules.clause / (depth + 1),
        )
        verb = self.word(kind, relation, head)
        near_before: list[_Word] = []
        near_after: list[_Word] = []
        if self.chance(0.2):
            auxiliary = self.word("AUX", "aux", verb)
            first = self.chance(rules.auxiliary_first)
            (near_before if first else near_after).append(auxiliary)
        late: list[_Word] = []
        subject = self.argument("nsubj", verb, animate=0.8, depth=depth)
        if self.chance(rules.subject_first):
            verb.before.append(subject)
            self.extrapose(subject, late)
        else:
            verb.after.append(subject)
        if self.chance(0.2):
            adverb = self.word("ADV", "advmod", verb)
            first = self.chance(rules.adverb_first)
            (verb.before if first else verb.after).append(adverb)
        if kind == "VERB_TRANSITIVE":
            obj = self.argument("obj", verb, animate=0.25, depth=depth)
            if self.chance(rules.object_first):
                verb.before.append(obj)
                self.extrapose(obj, late)
            else:
                verb.after.append(obj)
        for share in (1.0, 0.3):
            if self.chance(share * rules.verb_pp / (depth + 1)):
                phrase = self.prepositional("obl", verb, depth=depth)
                if self.chance(rules.fronted_pp):
                    verb.before.insert(0, phrase)
                else:
                    verb.after.append(phrase)
        verb.before += near_before
        verb.after[:0] = near_after
        verb.after += late
        if kind == "VERB_CLAUSE":
            inner = self.clause("ccomp", verb, depth=depth + 1)
            inner.before.insert(0, self.word("SCONJ", "mark", inner))
            verb.after.append(inner)
        elif self.chance(rules.coordination / (depth + 1)):
            other = self.clause("conj", verb, depth=depth + 1)
            other.before.insert(0, self.word("CCONJ", "cc", other))
            other.before.insert(0, _Word(",", "PUNCT", "punct", other))
            verb.after.append(other)
        return verb

    def argument(
        self, relation: str, verb: _Word, *, animate: float, depth: int
    ) -> _Word:
        if self.chance(self.rules.pronoun):
            return self.word("PRON", relation, verb)
        kind = "NOUN_ANIMATE" if self.chance(animate) else "NOUN_THING"
        return self.noun(kind, relation, verb, depth=depth)

    def noun(self, kind: str, relation: str, head: _Word, *, depth: int) -> _Word:
        rules = self.rules
        noun = self.word(kind, relation, head)
        if self.chance(rules.determiner):
            noun.before.append(self.word("DET", "det", noun))
        if self.chance(rules.adjective):
            adjective = self.word("ADJ", "amod", noun)
            first = self.chance(rules.adjective_first)
            (noun.before if first else noun.after).append(adjective)
            if self.chance(0.1):
                adverb = self.word("ADV", "advmod", adjective)
                adjective.before.append(adverb)
        if self.chance(rules.noun_phrase_pp / (depth + 1)):
            noun.after.append(self.prepositional("nmod", noun, depth=depth + 1))
        if depth < 3 and self.chance(rules.coordination / 2):
            other = self.noun(kind, "conj", noun, depth=depth + 1)
            other.before.insert(0, self.word("CCONJ", "cc", other))
            noun.after.append(other)
        return noun

    def prepositional(self, relation: str, head: _Word, *, depth: int) -> _Word:
        """A noun with a preposition: both tell, in part, what it depends on."""
        if relation == "nmod":
            kind = self.pick(NOUN_ANIMATE=0.35, NOUN_THING=0.45, NOUN_PLACE=0.20)
            case = self.pick(ADP_NOUN=0.45, ADP_BOTH=0.45, ADP_VERB=0.10)
        else:
            kind = self.pick(NOUN_ANIMATE=0.20, NOUN_THING=0.30, NOUN_PLACE=0.50)
            case = self.pick(ADP_VERB=0.45, ADP_BOTH=0.45, ADP_NOUN=0.10)
        noun = self.noun(kind, relation, head, depth=depth + 1)
        noun.before.insert(0, self.word(case, "case", noun))
        return noun

    def extrapose(self, noun: _Word, late: list[_Word]) -> None:
        """Moves the phrase that depends on `noun` behind the verb, perhaps."""
        for phrase in noun.after:
            if phrase.relation == "nmod" and self.chance(self.rules.extraposition):
                noun.after.remove(phrase)
                late.append(phrase)
                return

    def word(self, category: str, relation: str, head: _Word | None) -> _Word:
        form = self.lexicon[category].draw(self.rng)
        upos = _UPOS.get(category, category.split("_")[0])
        return _Word(form, upos, relation, head)

    def chance(self, probability: float) -> bool:
        return self.rng.random() < probability

    def pick(self, **weights: float) -> str:
        place = self.rng.random() * sum(weights.values())
        for name, weight in weights.items():
            place -= weight
            if place < 0:
                return name
        return name


def _linearize(word: _Word, words: list[_Word]) -> None:
    for other in word.before:
        _linearize(other, words)
    words.append(word)
    for other in word.after:
        _linearize(other, words)


def _invent(rng: random.Random, count: int, ending: str, used: set[str]) -> list[str]:
    """Returns new words of one or two syllables before the ending."""
    words = []
    while len(words) < count:
        parts = [
            _ONSETS[int(rng.random() * len(_ONSETS))]
            + _VOWELS[int(rng.random() * len(_VOWELS))]
            + _CODAS[int(rng.random() * len(_CODAS))]
            for _ in range(1 + (rng.random() < 0.4))
        ]
        last = _ONSETS[int(rng.random() * len(_ONSETS))]
        word = "".join(parts) + last + ending
        if word not in used:
            used.add(word)
            words.append(word)
    return words
