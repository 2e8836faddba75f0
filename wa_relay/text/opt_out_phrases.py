"""Sentences by which customers ask for no more messages, beside the configured keywords: data, expanded once.

`(a|b)` stands for one of its parts and `[a]` for a part that may be missing. Case, accents and punctuation do not
matter; `text/keywords.py` says what else is ignored. docs/opt-out.md shows examples that count and that do not.
"""

SPANISH = (
    "[ya] no me (escriban|escriba|escribas|escriben|escribes|escribais) [mas|nunca mas|de nuevo|otra vez] [por aqui]",
    "no (me|nos) (contacten|contacte|contactes|molesten|moleste|molestes|busquen|busque|insistan|fastidien) [mas]",
    "no me vuelvan a (escribir|llamar|contactar|molestar|buscar|mandar mensajes|enviar mensajes)",
    "no me vuelva[s] a (escribir|llamar|contactar|molestar|mandar mensajes|enviar mensajes)",
    "[ya] no me (llamen|llame|llames) (mas|nunca mas) [ni me escriban [mas]]",
    "[ya] no me (manden|mande|mandes|envien|envie|envies) [mas] (mensajes|mensaje|publicidad|promociones) [mas]",
    "[ya] no quiero [recibir] [mas] (mensajes|mensajes de ustedes|publicidad|promociones|sus mensajes)",
    "[ya] no (quiero|deseo) recibir [mas] (informacion|informacion de ustedes|nada de ustedes)",
    "no deseo [recibir] [mas] (mensajes|sus mensajes|publicidad|promociones)",
    "[ya] no (quiero|deseo) que me (escriban|escriba|contacten|llamen|llamen mas|escriban mas|contacten mas|"
    "molesten|molesten mas)",
    "[ya] no (quiero|deseo) (ser contactado|ser contactada)",
    "(dejen|deje|deja|dejad|paren|pare) de (escribirme|escribir|molestar|molestarme|contactarme|llamarme|"
    "mandarme mensajes|"
    "mandar mensajes|enviarme mensajes|enviar mensajes|mandar publicidad|enviar publicidad|enviarme publicidad|"
    "insistir|joder)",
    "(dejenme|dejeme|dejame) en paz",
    "(quitenme|quiteme|quitame|saquenme|saqueme|sacame|borrenme|borreme|borrame|eliminenme|elimineme|eliminame|"
    "retirenme|retireme)"
    " [de (la|su|esa|esta|tu) (lista|base|base de datos|lista de contactos|lista de difusion)]",
    "(quitenme|saquenme|borrenme|eliminenme) de (ahi|aqui|sus listas|las listas|sus contactos|sus bases de datos|todo)",
    "(quiten|saquen|borren|eliminen|retiren|quite|saque|borre|elimine) mi (numero|contacto|telefono|celular)"
    " [de (la|su|sus|esa) (lista|listas|base|base de datos|bases de datos)]",
    "[quiero|deseo|solicito|necesito] (darme|que me den|que me saquen) de baja",
    "(quiero|deseo|solicito|pido) (dar de baja mi numero|salir de la lista|salirme de la lista|"
    "que me saquen de la lista|que me quiten de la lista|que me borren|que me eliminen)",
    "(denme|deme|dame) de baja",
    "salir de la lista",
    "[quiero] desuscribirme",
    "(desuscribir|desuscribirse|cancelar mensajes|cancelar promociones|cancelar publicidad)",
    "(detener|detengan|parar|paren|pare|suspender|suspendan) [los|las|la|sus] (mensajes|promociones|publicidad)",
    "(basta|no mas|ya no mas|nada de) (mensajes|publicidad|promociones)",
    "no (autorizo|doy permiso|di permiso) (que me escriban|que me contacten|mensajes|para que me escriban|"
    "el envio de mensajes)",
    "no contactar [mas]",
    "no molesten [mas]",
    "no escriban [mas]",
    "no escribir mas",
    "(bloqueenme|no me escriban ni me llamen|no me llamen ni me escriban) [mas]",
)
"""The polite, the plural and the singular forms, as customers in Colombia, Mexico and Argentina write them."""

ENGLISH = (
    "unsubscribe [me|me now|from this list|me from this list|from all]",
    "[i want to|please] opt[ ]out",
    "opt me out",
    "[please] (stop|quit) (messaging|texting|contacting|bothering|writing|spamming|messaging to|writing to) [me|us]",
    "stop (messages|promotions|the messages|all messages|texts|ads|marketing|sending messages|"
    "sending me messages|sending texts|"
    "sending me texts)",
    "(do not|don t|dont|never) (message|text|contact|write|write to|bother|call or text|"
    "send messages to) me [again|anymore|any more]",
    "(do not|don t|dont) send me [any] [more] (messages|texts|anything|promotions)",
    "(remove|delete|take) me [from (the|your|this) list|off (the|your|this) list|from your database]",
    "(remove|delete) my (number|contact) [from (the|your|this) (list|database)]",
    "no more (messages|texts|promotions|contact)",
    "i (do not|don t|dont) want [to receive|to get|any more|any] [more] (messages|texts|promotions|"
    "your messages) [anymore|any more]",
    "leave me alone",
)

PORTUGUESE = (
    "[por favor] nao me (escreva|escrevam|mande mensagem|mandem mensagem|mande mensagens|mandem mensagens|"
    "envie mensagens|"
    "enviem mensagens|contate|contatem|chame|chamem|incomode|incomodem|mande mais mensagens|mandem mais mensagens|"
    "envie mais mensagens|enviem mais mensagens) [mais]",
    "nao quero [mais] receber [mais] (mensagens|suas mensagens|promocoes|publicidade)",
    "nao quero mais (mensagens|promocoes|contato|suas mensagens)",
    "(pare|parem|para) de (me mandar|me enviar|mandar|enviar) (mensagem|mensagens|promocoes)",
    "(pare|parem) de me (incomodar|escrever|contatar|chamar)",
    "me (tire|tirem|remova|removam|exclua|excluam|retire|retirem) [da|dessa|desta|de sua|da sua] [lista|"
    "base de dados|lista de contatos]",
    "(tire|tirem|remova|removam|exclua|excluam) (meu numero|meu contato) [da (lista|base de dados)]",
    "[quero] (sair da lista|me descadastrar|cancelar a inscricao|cancelar inscricao)",
    "(descadastrar|descadastre|me descadastre|cancelar recebimento|parar promocoes|parar mensagens|sem mensagens)",
    "me (deixe|deixem) em paz",
)

COURTESY = (
    "buenos dias",
    "buenos tardes",
    "buenos noches",
    "buenas tardes",
    "buenas noches",
    "buenas",
    "buenos",
    "hola",
    "por favor",
    "porfa",
    "gracias",
    "hi",
    "hello",
    "please",
    "thanks",
)
"""Ignored wherever they stand in a message; a message that holds nothing else asks for nothing."""
