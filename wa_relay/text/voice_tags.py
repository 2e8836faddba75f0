"""Markup that agents write for a voice and that customers must not see, as data: words of audio tags, names of tags.

Sources: ElevenLabs' prompting guide for its v3 voices (audio tags), W3C's SSML 1.1 and HTML. A square bracket is an
audio tag if all its words are in these lists and at least one is in the first; `[1]` and `[Nombre]` are not.
"""

from __future__ import annotations


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


CUES = _words("""
    laugh laughs laughing laughter chuckle chuckles chuckling giggle giggles giggling snicker snickers snort snorts
    sigh sighs sighing exhale exhales exhaling inhale inhales inhaling breath breathes breathing gasp gasps gasping
    whisper whispers whispering whispered shout shouts shouting yell yells yelling scream screams screaming murmurs
    mumble mumbles mumbling mutter mutters muttering stammer stammers stammering stutter stutters hesitates hesitating
    cough coughs coughing sniff sniffs sniffles sob sobs sobbing cry cries crying weeps yawn yawns yawning groan groans
    groaning grunt grunts gulp gulps swallow swallows hum hums humming sing sings singing wheeze wheezes wheezing
    pause pauses beat silence clears clearing throat excited excitedly happy happily sad sadly angry angrily annoyed
    annoyedly appalled thoughtful thoughtfully surprised sarcastic sarcastically curious curiously mischievous
    mischievously nervous nervously frustrated sorrowful calm calmly cheerful cheerfully playful playfully serious
    seriously warm warmly gentle gently friendly enthusiastic enthusiastically empathetic empathetically sympathetic
    sympathetically reassuring reassuringly confident confidently hopeful tired relieved resigned deadpan flatly
    dramatic dramatically rushed hurried drawn awe applause clapping gunshot explosion fart woo interrupting
    overlapping smiling smiles amused amazed shocked disappointed concerned worried embarrassed professional
    risa risas ríe rie riendo reír reir carcajada carcajadas risita sonríe sonrie sonriendo suspira suspiro suspirando
    susurra susurro susurrando grita gritando murmura murmurando tose tos carraspea carraspeo llora llorando solloza
    bosteza jadea jadeo inhala exhala respira respirando canta cantando tararea titubea duda pausa silencio aplausos
    emocionado emocionada entusiasmado entusiasmada entusiasta entusiasmo alegre alegremente feliz contento contenta
    triste tristemente enojado enojada molesto molesta sorprendido sorprendida sarcástico sarcástica curioso curiosa
    nervioso nerviosa frustrado frustrada preocupado preocupada tranquilo tranquila calmado calmada serio seria cálido
    cálida cálidamente amable amablemente empático empática comprensivo comprensiva animado animada aliviado aliviada
    pensativo pensativa dramático dramática juguetón juguetona
""")
"""A sound, a feeling or a way of speaking."""

QUALIFIERS = _words("""
    a an and the in of with very more much slightly little bit short long brief deep deeply soft softly light lightly
    quiet quietly loud loudly slow slowly fast quickly hard harder strong nervous out starts starting start stops
    tone voice accent manner pace
    un una y e la el en de con muy más mas poco poquito algo corto corta largo larga breve profundo profunda suave
    suavemente leve levemente bajo baja alto alta lento lentamente rápido rápidamente fuerte empieza comienza se a
    tono voz acento aire
""")
"""May stand beside a cue."""

TONES = _words("tone voice accent tono voz acento")
"""As the first or last word they make a tag of up to four words (`[strong French accent]`, `[tono de asombro]`)."""

SPEECH_TAGS = _words("""
    speak break say-as phoneme prosody emphasis sub lang voice audio mark p s w token lexicon lookup desc metadata meta
    mstts:express-as express-as amazon:effect amazon:emotion amazon:domain emotion speed volume pitch rate spell pause
    laugh laughs laughter chuckle chuckles sigh sighs gasp cough whisper whispers breath excited happy sad angry calm
""")

HTML_TAGS = _words("""
    a abbr address article aside b bdi bdo big blockquote body br button caption center cite code col colgroup dd del
    details dfn div dl dt em fieldset figcaption figure font footer form h1 h2 h3 h4 h5 h6 head header hr html i iframe
    img input ins kbd label legend li link main map mark nav noscript object ol option picture pre q s samp script
    section select small source span strike strong style sub summary sup svg table tbody td template textarea tfoot th
    thead time title tr tt u ul var video wbr
""")

BREAKING_TAGS = _words("br hr p div li tr ul ol table h1 h2 h3 h4 h5 h6 blockquote section article header footer")
"""A line ends at each of these tags."""

HIDDEN_TAGS = _words("script style head title svg template lexicon metadata")
"""Tags whose content is not text."""
