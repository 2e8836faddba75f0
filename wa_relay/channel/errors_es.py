"""Meanings and remedies of Twilio's codes in Spanish: for the console and for reports in that language.

One sentence for each code of `errors.CODES`.
"""

from __future__ import annotations

MEANINGS: dict[str, str] = {
    "14107": (
        "demasiadas respuestas a un número en 30 s, quizá entre dos máquinas: tome la "
        "conversación, o déjela en silencio"
    ),
    "20429": "demasiadas solicitudes a la vez: se reenvía solo",
    "20500": "Twilio tuvo un error interno: revise si el mensaje llegó",
    "20503": "Twilio no estaba disponible: revise si el mensaje llegó",
    "21611": "la cola del remitente en Twilio está llena: se reenvía solo",
    "30001": "la cola de Twilio se desbordó: envíe menos mensajes a la vez",
    "63009": "WhatsApp devolvió un error: busque el mensaje en el registro de Twilio y reenvíelo si hace falta",
    "63010": (
        "Twilio tuvo un error interno al pasar a WhatsApp: busque el mensaje en el registro de "
        "Twilio y reenvíelo si hace falta"
    ),
    "63012": "WhatsApp tuvo un error interno: busque el mensaje en el registro de Twilio y reenvíelo si hace falta",
    "63017": (
        "se alcanzó el límite de velocidad de WhatsApp: envíe menos mensajes a la vez (twilio.messages_per_second)"
    ),
    "63018": (
        "se alcanzó el límite del remitente, o de mensajes a un cliente: envíe menos a la vez, o "
        "pida a Meta un límite mayor"
    ),
    "63019": "no se pudo descargar el archivo: revise que su dirección se abra sin iniciar sesión",
    "63038": (
        "la cuenta llegó a su límite diario de mensajes: espere hasta mañana, o pase la cuenta de prueba a una de pago"
    ),
    "63049": "Meta retuvo una plantilla de marketing: use una plantilla de utilidad, o espere un día",
    "21211": "el número no es un teléfono válido: corríjalo en la campaña",
    "21408": "el país no está habilitado: permítalo en los permisos geográficos de mensajería de Twilio",
    "21610": "el cliente pidió no recibir más mensajes: no se le puede escribir",
    "21614": "el número no es de un celular: llame al cliente, o corríjalo en la campaña",
    "30003": "el teléfono está apagado o sin señal: intente otro día, o llame al cliente",
    "30005": "el número no existe o ya no existe: corríjalo en la campaña",
    "30036": "esperó en Twilio más de lo permitido: si se repite, revise la página de estado de Twilio",
    "63003": "el número no tiene WhatsApp: llame al cliente, o corríjalo en la campaña",
    "63005": "WhatsApp no aceptó el mensaje para este cliente: llámelo, o intente otro día",
    "63013": (
        "el mensaje incumple las políticas de WhatsApp, o una variable no es correcta: revise la "
        "plantilla y content_variables"
    ),
    "63014": "el cliente bloqueó al remitente: no le escriba más",
    "63015": "el cliente no se ha unido al sandbox, o pasaron tres días: pídale que envíe el código de ingreso",
    "63016": "fuera de la ventana de 24 horas no se acepta texto libre: ponga en content_sid una plantilla aprobada",
    "63021": "la plantilla con sus variables es muy larga o está mal formada: acórtela, o acorte content_variables",
    "63024": (
        "el número no tiene WhatsApp, tiene una versión vieja, o no aceptó sus términos: llame al "
        "cliente, o corríjalo en la campaña"
    ),
    "63030": "se envió una plantilla junto con texto o un archivo: reporte este error de wa-relay",
    "63031": "el remitente y el destinatario son el mismo: quite nuestro número de la campaña",
    "63032": (
        "el cliente está en un experimento de Meta y no recibe marketing: use una plantilla de utilidad, o llámelo"
    ),
    "63033": "el cliente está bloqueado: desbloquéelo en el administrador comercial de Meta si es un error",
    "63050": "el cliente no quiere marketing de esta empresa: envíele solo plantillas de utilidad",
    "63058": "WhatsApp no permite mensajes a este país: llame al cliente",
    "21602": "el mensaje no tiene texto: reporte este error de wa-relay",
    "21603": "no se indicó un remitente: configure twilio.sender",
    "21604": "no se indicó un destinatario: reporte este error de wa-relay",
    "21609": "la dirección para los estados no es válida: corrija server.public_url",
    "21617": "el texto pasa de 1.600 caracteres: baje reply.max_length",
    "21620": "la dirección del archivo no es válida: reporte este error de wa-relay",
    "21910": "el remitente y el destinatario son de canales distintos: twilio.sender debe empezar por whatsapp:",
    "21654": (
        "se enviaron variables sin plantilla, o una cuenta de prueba solo puede enviar plantillas: "
        "configure content_sid, o pase a una cuenta de pago"
    ),
    "21655": "no existe esa plantilla: corrija content_sid",
    "21656": "las variables de la plantilla no son correctas: corrija content_variables",
    "63027": "la plantilla no existe en este idioma: agréguele el idioma en Twilio, o corrija content_sid",
    "63028": "la cantidad de variables no es la de la plantilla: corrija content_variables",
    "63040": "WhatsApp rechazó la plantilla: corríjala y envíela de nuevo a aprobación",
    "63041": "la plantilla está en pausa por su calidad: use otra",
    "63042": "la plantilla está deshabilitada: use otra",
    "20003": "Twilio rechaza las credenciales: corrija twilio.account_sid y twilio.auth_token",
    "20005": "la cuenta de Twilio no está activa: revise la consola de Twilio",
    "20404": "no existe esa cuenta de Twilio: corrija twilio.account_sid",
    "21701": "no existe el servicio de mensajería: corrija twilio.messaging_service_sid",
    "21702": "no se puede usar el servicio de mensajería: revise la consola de Twilio",
    "21703": "el servicio de mensajería no tiene remitente: agréguele el remitente de WhatsApp",
    "21704": (
        "el servicio de mensajería no tiene remitente para este país: agréguele uno, o corrija el número en la campaña"
    ),
    "21705": "el servicio de mensajería no es válido: corrija twilio.messaging_service_sid",
    "30002": "la cuenta de Twilio está suspendida: revise la consola de Twilio",
    "63001": "WhatsApp rechaza las credenciales del remitente: revíselo en la consola de Twilio",
    "63002": "WhatsApp no conoce al remitente: revíselo en la consola de Twilio",
    "63007": "no existe ese remitente de WhatsApp: corrija twilio.sender",
    "63008": "el remitente no está configurado para WhatsApp: revíselo en la consola de Twilio",
    "63020": "falta aceptar la invitación en el administrador comercial de Meta: acéptela",
    "63022": "el certificado del remitente no es válido: registre el remitente de nuevo",
    "63051": "el remitente o su cuenta de WhatsApp está bloqueado: regístrelo de nuevo, o consulte a Twilio",
    "63062": "el remitente no puede enviar por ahora: revíselo en la consola de Twilio",
    "63112": "Meta deshabilitó la cuenta de WhatsApp: apele en el administrador comercial de Meta",
}


def meaning_in_spanish(code: str | None) -> str:
    """A sentence that says what a code means and what to do; there is one for every code."""
    if not code:
        return "Twilio no dio un código"
    known = MEANINGS.get("63015" if code == "InvalidSandboxRequest" else code)
    if known is not None:
        return known
    return f"aquí no se conoce el código {code[:40]}: búsquelo en el diccionario de errores de Twilio"
