"""Texts of the sample: lines on products in three languages that go with the target, with noise.

Each value of the target has a topic: that of its name, else the next. A part of the texts is about
another one, and words of other topics are denied, so that single words are not enough.
"""

import numpy as np
import polars as pl
from numpy.typing import NDArray

STRAY = 0.12  # of the texts are about another topic
LANGUAGES, SHARES = ("en", "de", "es"), (0.6, 0.25, 0.15)
TOPICS = {
    "kitchen": {
        "en": "pan kettle knife oven whisk steel dishwasher recipe coffee bowl",
        "de": "Pfanne Wasserkocher Messer Ofen Edelstahl Kaffee Schüssel Topf Deckel",
        "es": "sartén hervidor cuchillo horno acero café cuenco olla tapa",
    },
    "clothing": {
        "en": "shirt cotton sleeve size jacket wool fit washable collar zip",
        "de": "Hemd Baumwolle Ärmel Größe Jacke Wolle Kragen waschbar Knopf",
        "es": "camisa algodón manga talla chaqueta lana cuello lavable botón",
    },
    "electronics": {
        "en": "battery charger screen wireless cable speaker bluetooth adapter voltage sensor",
        "de": "Akku Ladegerät Bildschirm kabellos Kabel Lautsprecher Stecker Sensor Strom",
        "es": "batería cargador pantalla inalámbrico cable altavoz enchufe sensor voltios",
    },
    "toys": {
        "en": "puzzle doll blocks children play game plush age wooden car",
        "de": "Puppe Bausteine Kinder Spiel Plüsch Holz Auto Rätsel Alter",
        "es": "muñeca bloques niños juego peluche madera coche rompecabezas edad",
    },
    "garden": {
        "en": "hose plant seeds soil lawn shovel pot watering hedge compost",
        "de": "Schlauch Pflanze Samen Erde Rasen Schaufel Blumentopf Hecke Kompost",
        "es": "manguera planta semillas tierra césped pala maceta seto abono",
    },
    "books": {
        "en": "novel author pages chapter paperback edition story history print reader",
        "de": "Roman Autor Seiten Kapitel Taschenbuch Auflage Geschichte Druck Leser",
        "es": "novela autor páginas capítulo edición historia lector tapa impreso",
    },
}
FRAMES = {
    "en": ("With {0} and {1}, good for {2}.", "Not for {3}: this is about {0}, {1}. {2}!"),
    "de": ("Mit {0} und {1}, gut für {2}.", "Kein {3}, hier geht es um {0}, {1}. {2}!"),
    "es": ("Con {0} y {1}, ideal para {2}.", "No es {3}, se trata de {0}, {1}. ¡{2}!"),
}
MORE = {
    "en": ("Now with more {0}.", "Ships in two days.", "The best {0} of the year.", "Model {1}."),
    "de": ("Jetzt mit mehr {0}.", "Lieferung in zwei Tagen.", "Bestes {0}.", "Modell {1}."),
    "es": ("Ahora con más {0}.", "Envío en dos días.", "Lo mejor en {0}.", "Modelo {1}."),
}


def written(
    name: str, outcome: pl.Series, longest: float | None, rng: np.random.Generator
) -> pl.Series:
    """Return a text for each value of the target, of at most `longest` characters."""
    topics, limit = list(TOPICS), int(longest or 10_000)
    about = _topics(outcome)
    stray = rng.random(len(about)) < STRAY
    about = np.where(stray, rng.integers(0, len(topics), len(about)), about)
    languages = rng.choice(LANGUAGES, len(about), p=SHARES)
    lines = [
        _text(topics[topic], str(language), rng)[:limit]
        for topic, language in zip(about, languages, strict=True)
    ]
    return pl.Series(name, lines, dtype=pl.String)


def _text(topic: str, language: str, rng: np.random.Generator) -> str:
    words = rng.choice(TOPICS[topic][language].split(), 3, replace=False)
    other = rng.choice(TOPICS[str(rng.choice(list(TOPICS)))][language].split())
    parts = [str(rng.choice(FRAMES[language])).format(*words, other)]
    for frame in rng.choice(MORE[language], rng.integers(0, 4)):
        parts.append(str(frame).format(rng.choice(words), rng.integers(1000, 9999)))
    return " ".join(parts)


def _topics(outcome: pl.Series) -> NDArray[np.intp]:
    """Return the number of a topic for each value."""
    known, topics = outcome.drop_nulls(), list(TOPICS)
    if outcome.dtype.is_float() or (
        known.n_unique() > len(topics) * 2 and known.dtype.is_numeric()
    ):
        ranks = outcome.rank("ordinal").fill_null(1).to_numpy() - 1
        return (ranks * len(topics) // max(1, len(outcome))).astype(np.intp)
    levels = sorted(known.cast(pl.String).unique())
    free = [topic for topic in topics if topic not in levels] or topics
    others = iter(free * (len(levels) // len(free) + 1))
    of = {level: topics.index(level if level in topics else next(others)) for level in levels}
    return np.array([of.get(value, 0) for value in outcome.cast(pl.String)], dtype=np.intp)
