"""Whether a column looks like data that identify a person, by its name and by its values."""

import re
from collections.abc import Iterable

import polars as pl

from ..dialect import BOOLEANS
from ..settings import Project
from .contract import Column, Kind, in_ascii

EXAMINED = 1000  # different values that the patterns are tried on
# Who has a name, beside things that have one: a product, a file, a town.
PERSONS = (
    "customer|client|person|user|owner|holder|driver|contact|employee|patient|recipient|sender"
    "|tenant|insured|applicant|member|guest|student|teacher|kunden?|besitzer|inhaber|halter|fahrer"
    "|ansprechpartner|mitarbeiter|empfaenger|absender|patienten|versicherten?|mieter|antragsteller"
    "|schueler|gast|lehrer|titulaire|conducteur|proprietaire|cliente|titular|conductor|propietario"
)
NAMES = {
    "e-mail": r"e_?mail|courriel|correo",
    "phone": r"(tele)?phone|mobile(_?(no|number))?$|telefon|(^|_)(tel|fax)(_|$)",
    "name": r"^(name|nom|apellidos?)$|(first|last|middle|full|given|family)_?name|surname"
    r"|(vor|nach|familien)_?name|prenom|nom_de_famille"
    rf"|(^|_)({PERSONS})(in)?_?name|^(name|nom|nombre)_(of_|de[rs]?_|du_|del_)?({PERSONS})"
    r"|^(besitzer|inhaber|halter|fahrer|ansprechpartner|kontaktperson|sachbearbeiter)(in)?$"
    r"|^(contact_person|(account|card|policy)_?holder)$",
    "address": r"address|adresse|anschrift|wohnort|direccion|domicil|street|strasse|(^|_)(zip|plz)"
    r"|haus_?n(umme)?r|post(al)?_?code|code_?postal|codigo_?postal",
    "birth": r"(birth|geburt(s|en)?|naissance|nacimiento)(_?(place|city|country|ort|stadt|land))?"
    r"|(^|_)(dob|(date?_?)?naiss|fec(ha)?_?nac)(_|$)|(^|_)(geb|nac)_?(dat(um)?|tag|jahr|ort)"
    r"|^(born(_(on|in|at|date|year))?|geboren(_(am|in))?)$",
    "account or card": r"(^|_)iban|(card|account)_?(no|num|number)$",
    "official number": r"(^|_)ssn|social_?security|passport|(tax|national)_?(id|number)|(^|_)dni$"
    r"|sozialversicherungs?_?n|securite_?sociale|(kfz|amtliches|auto)_?kennzeichen|^kennzeichen$"
    r"|nummernschild|(licen[cs]e|number|registration)_?plate|immatriculation",
    "IP address": r"(^|_)ip(_|$)|ip_?addr",
}
# What the law protects, in English, German, French and Spanish: GDPR Art. 9 and 10, and grounds of
# discrimination (Charter of Fundamental Rights of the EU, Art. 21). Whole words, of any values.
SENSITIVE = {
    "gender": r"gender|sex|geschlecht|anrede|salutation|sexe|civilite|sexo|genero",
    "marital status": r"marital|married|marriage|(civil|relationship)_status|familienstand"
    r"|zivilstand|verheiratet|etat_civil|situation_(familiale|matrimoniale)|estado_civil|casad[oa]",
    "religion": r"religion|religious|religious_?(affiliation|belief|views)s?|faith|konfession"
    r"|religionszugehoerigkeit|church_?tax|kirchensteuer|croyance|religiosa|creencia",
    "ethnicity": r"ethnic|ethnicity|ethnic_?(origin|group|background)|race_?ethnicity|race_?ethnic"
    r"|skin_?colou?r|ethnie|ethnische_?herkunft|hautfarbe|origine_?ethnique|etnia|origen_?etnico"
    r"|raza|(applicant|client|customer|employee|patient|person|derived|observed)_race",
    "nationality": r"nationality|citizen(ship)?|native_?country|immigra(nt|tion)|residence_?permit"
    r"|migration_?background|nationalitaet|staatsangehoerigkeit|staatsbuergerschaft"
    r"|migrationshintergrund|aufenthaltstitel|nationalite|citoyennete|nacionalidad|ciudadania",
    "health": r"disabled|disabilit(y|ies)|handicap(ped)?|pregnan(t|cy)|diagnos[ei]s|icd_?(9|10|11)?"
    r"|illness(es)?|diseases?|medication|medical_?(history|records?)|blood_?(type|group|pressure)"
    r"|hiv|bmi|smok(er|ing)|behindert|behinderung(sgrad)?|schwerbehindert|schwerbehinderung"
    r"|schwanger(schaft)?|krankheit|gesundheitszustand|raucher|sante|etat_de_sante|enceinte|maladie"
    r"|salud|estado_de_salud|enfermedad|embarazada|discapacidad|discapacitad[oa]",
    "politics": r"politics|political_?(opinions?|party|views?|affiliation)|party_?affiliation"
    r"|politische_?(meinung|gesinnung)|partei|parteizugehoerigkeit|parti_?politique|voted_?for"
    r"|opinions?_?politiques?|opinion_?politica|partido_?politico",
    "sexual orientation": r"sexual_?orientation|sexuality|sexual_?(identity|preference)|sex_?life"
    r"|sexuelle_?(orientierung|identitaet)|orientation_?sexuelle|orientacion_?sexual",
    "union membership": r"(trade_?|labou?r_?)?union_?member(ship)?|(trade|labou?r)_?union"
    r"|gewerkschaft(smitglied(schaft)?)?|syndicat|syndique|syndicale?|sindicato|sindical"
    r"|appartenance_syndicale|afiliacion_sindical",
    "genes or biometrics": r"genetic|genetic_?data|genotype|genome|dna|biometrics?|genetisch",
    "crime": r"criminal|criminal_?(records?|history)|convicted|(prior_?)?convictions?|felony"
    r"|vorstrafen?|vorbestraft|casier_?judiciaire|antecedentes_?penales",
}
ALONE = {  # words that mean this only as the whole name: not race_time, credit_union, server_health
    "ethnicity": r"race(?!_?(id|key|no|num|name|type|class|status))",
    "health": r"health(_?(condition|state|status|issue|problem)s?)?|gesundheit",
    "union membership": r"union",
}
FORM = (  # what may follow: the same thing in another form, or one value of it in a column of flags
    r"(_?(status|code|cd|type|group|category|class|flag|yn|ind|indicator|desc|description|text"
    r"|label|name|value|id|key|no|num|\d+)|_(yes|no|m|f|w|male|female|man|woman|married|single"
    r"|divorced|widowed|white|black|asian|hispanic|other|unknown|missing))*"
)
CONSENT = r"consent|einwillig|einverstanden|zustimmung|(^|_)opt_?(in|out)(_|$)"
REST = r"(_?(address|line|code|no|num|number|date|year|day|\d))*$"  # what may follow a topic
VALUES = {
    "e-mail": r"^[^@\s]+@[^@\s]+\.\w+$",
    "phone": r"^(\+\d|\(\d|0\d+[ /-])[\d ()/.-]{5,20}$|^\d{3}-\d{3}-\d{4}$",
    "IBAN": r"^[A-Z]{2}\d{2} ?([A-Z0-9]{4} ?){2,7}[A-Z0-9]{1,4}$",
    "official number": r"^\d{3}-\d{2}-\d{4}$",
    "IP address": r"^(\d{1,3}\.){3}\d{1,3}$|^([0-9a-fA-F]{0,4}:){3,7}[0-9a-fA-F]{0,4}$",
}


# Two of these values, in any letters, tell what a column is, whatever its name.
WORDS = {
    "gender": "male female man woman maennlich weiblich mann frau homme femme masculin feminin "
    "hombre mujer masculino femenino non-binary",
    "marital status": "married single divorced widowed verheiratet ledig geschieden verwitwet "
    "marie celibataire divorce veuf casado soltero divorciado viudo",
    "religion": "christian catholic protestant muslim islam jewish hindu buddhist atheist "
    "katholisch evangelisch konfessionslos musulman catholique catolico",
}


def snake(name: str) -> str:
    """Return `CustomerID` or `Customer ID` as `customer_id`."""
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])|\W+", "_", name).lower()


def groups(project: Project, columns: Iterable[Column]) -> tuple[str, ...]:
    """Return the columns that say who is in a group of people that must not be worse off.

    Those that config.yaml names; if it names none and rows are about people, the categories and
    flags that the law protects by their name, such as gender, features or not.
    """
    if named := project.config.evaluation.slices:
        return named
    empty = pl.Series([], dtype=pl.String)
    found = tuple(
        column.name
        for column in columns
        if column.role in ("feature", "excluded")
        and column.kind in ("category", "boolean")
        and _protected(column.name, column.kind, empty)
    )
    return found if found and project.plan.answers["personal_data"] else ()


def suspicion(name: str, kind: Kind, values: pl.Series) -> str:
    """Say why a column looks personal; "" when it does not. `values` has no missing ones.

    Flags, small numbers and few texts whose name goes on after the topic are no person's, whatever
    the name says: phone_service, email_verified, emails_sent. What the law protects is a person's
    in every form: union_member is a flag.
    """
    if topic := _protected(name, kind, values):
        return topic
    topics, ending = list(NAMES), ""
    if kind == "category":
        texts = values.unique().sort().head(EXAMINED).str.strip_chars()
        for topic, pattern in VALUES.items():
            if texts.str.contains(pattern).sum() >= 0.8 * len(texts):
                return f"its values look like personal data ({topic})"
        if len(texts) <= min(10, 0.5 * len(values)):
            if texts.str.to_lowercase().is_in(list(BOOLEANS)).any():
                return ""
            ending = REST
    elif kind in ("integer", "number"):
        middle = float(values.cast(pl.Float64).median() or 0)  # type: ignore[arg-type]
        years = kind == "integer" and 1900 < middle < 2030
        topics = topics if middle >= 10_000 else ["birth"] if years else []
    else:
        topics = ["birth"] if kind in ("date", "timestamp") else []
    for topic in topics:
        if re.search(f"({NAMES[topic]}){ending}", in_ascii(snake(name))):
            return f"its name says personal data ({topic})"
    return ""


def consents(name: str) -> bool:
    """Whether a name, in English, German, French or Spanish, may tell who agreed to be in rows."""
    return bool(re.search(CONSENT, in_ascii(snake(name))))


def _protected(name: str, kind: Kind, values: pl.Series) -> str:
    plain = in_ascii(snake(name)).strip("_")
    for topic, words in SENSITIVE.items():
        whole = ALONE.get(topic, words)
        # First what takes a tenth of the time to compile, and is true of few names.
        if not re.search(f"(^|_)({words}|{whole})", plain):
            continue
        if re.search(f"(^|_)({words}){FORM}$", plain) or re.search(f"^({whole}){FORM}$", plain):
            return f"its name says what the law protects ({topic})"
    texts = values.unique() if kind == "category" else values.head(0)
    found = {in_ascii(text.strip()) for text in texts.head(EXAMINED)}
    for topic, known in WORDS.items():
        shared = found & set(known.split())
        if len(shared) > 1 and len(shared) >= 0.5 * len(found):
            return f"its values say what the law protects ({topic})"
    return ""
