"""Whether and when a customer answered an opening, as every report counts it."""

from __future__ import annotations

FIRST_REPLY_AT = """case when m.status in ('sent', 'delivered', 'read') then (
            select min(i.accepted_at) from conversation_messages i
            where i.conversation_id = c.conversation_id and i.direction = 'inbound' and i.id > m.id
                and i.accepted_at >= m.accepted_at
                and i.accepted_at < coalesce((
                    select min(n.accepted_at) from conversation_messages n
                    where n.conversation_id = c.conversation_id and n.kind = 'opening'
                        and n.status in ('sent', 'delivered', 'read') and n.accepted_at > m.accepted_at), 1e300)
            ) end"""
"""The time of the first answer to the opening `m` of the call `c`, null without one.

A customer's message answers the latest opening that had gone out when it arrived.
"""
