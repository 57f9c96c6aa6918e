# Delay monitoring of a path, after the CoNEXT 2018 paper: mark_delay on the router where the
# path begins, end_dm on the router where it ends (a SID: fd00:b::d here).

use dm

param far_end:   ipv6 = fd00:b::d  # the SID that runs end_dm
param collector: ipv6 = fd00:c::1  # who gets the records
param port:      u16  = 4739
param session:   u24  = 1
param one_in:    u32  = 1000       # 0: measure nothing

event delay_sample { session: u24, sent: timestamp, received: timestamp }

# One packet in `one_in` gets an outer header with an SRH that carries the time.
transit mark_delay at in {
    when sample(1 in one_in) {
        encap segments [far_end, ip.dst] with
            DM { control = OUT_OF_BAND, session = session, sent = now() },
            URO { port = port, address = collector }
    }
    otherwise forward
}

endpoint end_dm {
    # One-way: report, and the packet goes on without its outer header.
    when srh has DM as dm and dm.version == 1 and dm.response == 0 and dm.control == OUT_OF_BAND {
        emit delay_sample { session = dm.session, sent = dm.sent, received = now() }
        decap to table main
    }
    # Two-way: answer in the TLV; the next segment is the querier.
    when srh has DM as dm and dm.version == 1 and dm.response == 0 and dm.control == IN_BAND {
        set dm.response = 1
        set dm.control = SUCCESS
        set dm.response_format = PTP
        set dm.received = now()
        set dm.reply_sent = now()
        forward
    }
    otherwise forward
}
