# Delay measurement TLVs of the SRH: DM (after RFC 6374, section 3.2) and UDP Return Object
# (after RFC 7876), as in the CoNEXT 2018 paper. Their numbers are the paper's: IANA has not
# assigned any in the SRH.

# What a query asks for, and what a response says (RFC 6374, section 3.1).
enum Control: u8 {
    IN_BAND = 0x00,      # query: answer on the same path
    OUT_OF_BAND = 0x01,  # query: send the record to the UDP Return Object
    NO_ANSWER = 0x02,
    SUCCESS = 0x01,      # response
    ERROR = 0x10,
    BAD_VERSION = 0x11,
    BAD_CONTROL = 0x12,
}

enum TimeFormat: u4 { NULL = 0, SEQUENCE = 1, NTP = 2, PTP = 3 }

tlv DM = 7 {  # 48 bytes with its type and length
    reserved: u16,
    version: u4 = 1,
    response: u1,         # R: 0 in a query, 1 in a response
    class_set: u1,        # T: traffic_class is to be looked at
    reserved: u2,
    control: Control,
    reserved: u16,
    query_format: TimeFormat = PTP,
    response_format: TimeFormat,
    preferred_format: TimeFormat,
    reserved: u20,
    session: u24,
    traffic_class: u8,
    sent: timestamp,      # query leaves the querier
    received: timestamp,  # query reaches the responder
    reply_sent: timestamp,
    reply_received: timestamp,
}

tlv URO = 131 {  # where to send the record: 20 bytes
    port: u16,
    address: ipv6,
}
