"""Texts of the sample: messages in three languages about what the target says, with noise.

Each value of the target has a topic: that of its name, else the next. A part of the messages is
about another one, and words of several topics are denied, so that single words are not enough.
"""

import numpy as np
import polars as pl
from numpy.typing import NDArray

STRAY = 0.12  # of the messages are about another topic
LANGUAGES, SHARES = ("en", "de", "es"), (0.6, 0.25, 0.15)
TOPICS = {
    "billing": {
        "en": "invoice charge amount refund receipt tax payment card price debit",
        "de": "Rechnung Betrag Abbuchung Steuer Zahlung Preis Lastschrift Mahnung Beleg",
        "es": "factura cargo importe recibo impuesto pago tarjeta precio cobro",
    },
    "delivery": {
        "en": "parcel shipment courier tracking address late arrived warehouse door date",
        "de": "Paket Sendung Lieferung Adresse Versand Bote Termin verloren Lager",
        "es": "paquete entrega correo seguimiento retraso almacén domicilio envío",
    },
    "returns": {
        "en": "return exchange label size wrong colour broken box send back damaged",
        "de": "Rückgabe Umtausch Größe falsch Farbe kaputt Karton zurück beschädigt",
        "es": "devolución cambio talla color roto caja etiqueta dañado devolver",
    },
    "account": {
        "en": "password login email profile locked username verify code reset access",
        "de": "Passwort Anmeldung Konto gesperrt Profil Zugang Code Benutzer zurücksetzen",
        "es": "contraseña cuenta acceso usuario bloqueada perfil código verificar",
    },
    "technical": {
        "en": "app crash error update screen slow browser install freeze version",
        "de": "Absturz Fehler Bildschirm langsam Browser Installation Version Programm",
        "es": "aplicación error pantalla lenta navegador instalar versión fallo",
    },
    "praise": {
        "en": "great thanks happy excellent friendly perfect love helpful quick wonderful",
        "de": "super danke zufrieden ausgezeichnet freundlich perfekt hilfreich schnell",
        "es": "gracias excelente contento amable perfecto genial rápido encantado",
    },
}
FRAMES = {
    "en": ("Hello, about the {0}: {1} and {2}.", "My {0} is not {3}, it is about {1}. {2}!"),
    "de": ("Guten Tag, zu {0}: {1} und {2}.", "Es geht um {0}, nicht um {3}. {1}, {2}!"),
    "es": ("Hola, sobre {0}: {1} y {2}.", "No es {3}, se trata de {0}: {1}, {2}."),
}
MORE = {
    "en": ("Please help me {0}.", "I asked last week.", "The {0} again.", "This is order {1}."),
    "de": ("Bitte um Hilfe {0}.", "Seit einer Woche warte ich.", "Wieder {0}.", "Auftrag {1}."),
    "es": ("Por favor, ayuda {0}.", "Espero desde el lunes.", "Otra vez {0}.", "Pedido {1}."),
}


def written(
    name: str, outcome: pl.Series, longest: float | None, rng: np.random.Generator
) -> pl.Series:
    """Return a message for each value of the target, of at most `longest` characters."""
    topics, limit = list(TOPICS), int(longest or 10_000)
    about = _topics(outcome)
    stray = rng.random(len(about)) < STRAY
    about = np.where(stray, rng.integers(0, len(topics), len(about)), about)
    languages = rng.choice(LANGUAGES, len(about), p=SHARES)
    lines = [
        _message(topics[topic], str(language), rng)[:limit]
        for topic, language in zip(about, languages, strict=True)
    ]
    return pl.Series(name, lines, dtype=pl.String)


def _message(topic: str, language: str, rng: np.random.Generator) -> str:
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
