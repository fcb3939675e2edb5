//! Test requests.

use super::Seeds;

const RIGHT: [(&str, &str); 12] = [
    ("nothing", ""),
    ("rental", "cfg=(persist:true,firstexp:60)"),
    (
        "times",
        "cfg=(persist:true,begindate:20170101,enddate:20170131235959,realtime:true,removaldate:20170228)",
    ),
    (
        "chain",
        "cfg=(rootid:3C6F3C13-6207-4916-867C-8252B3993638,kid:header),(isroot:true,kid:EzxvPAdiFkmGfIJSs5k2OA==)",
    ),
    (
        "keys",
        "cfg=(keyseed:Wdkg2jsl3djgqSFer26XVBoVVRPzVEggUOSKSQaz,ckt:aes128bitcbc)",
    ),
    (
        "exchange",
        "cfg=(ckt:keyexchange,ck:eNqVnXrElmo2NSsn7IXeEA==,algorithm:A128KW,operation:wrap)",
    ),
    (
        "restrictions",
        "cfg=(ucvopl:300,dvop:(guid:ABB2C6F1-E663-4625-A945-972D17B231E7,data:AAAAAQ==),extendedright:(type:500,extended:((type:400,mustunderstand:true,besteffort:false,data:Ah==))),playenablers:(786627D8-C2A6-44BE-8F88-08AE255B01A7))",
    ),
    (
        "answer",
        "cfg=(errorcode:0x8004c605,clock:-60,latency:250,transaction:true,msg:clientinfo)",
    ),
    ("refused", "cfg=(accountid:A/uHOj7F+UaM+Jlny2obFA==)"),
    ("base64", "cfg64=W3sna2lkJzonaGVhZGVyJywnc2wnOiczMDAwJ31d"),
    (
        "json",
        "json=[{'kid':'header','sl':'3000'},{'maxres':'1920x1080'}]",
    ),
    (
        "legacy",
        "PlayRight=1&FirstPlayExpiration=60&UncompressedDigitalVideoOPL=270",
    ),
];

const WRONG: [(&str, &str); 12] = [
    ("unclosed", "cfg=(persist:true"),
    ("behind-the-end", "cfg=(persist:true))"),
    ("deep", "cfg=(a:(b:(c:(d:(e:f)))))"),
    ("space", "cfg=(persist:%20true)"),
    ("unknown", "cfg=(presist:true)"),
    ("twice", "cfg=(sl:150,sl:150)"),
    ("no-name", "cfg=(true)"),
    ("two-latencies", "cfg=(latency:1),(latency:2)"),
    ("beside", "cfg=(sl:150)&a=b"),
    ("date", "cfg=(enddate:20170229)"),
    ("json-number", "json=[{'sl':3000}]"),
    ("legacy-unknown", "PlayLeft=1"),
];

impl Seeds {
    pub(super) fn test_requests(&mut self) {
        for (name, text) in RIGHT {
            self.accepted("test_request", name, text);
        }
        for (name, text) in WRONG {
            self.invalid("test_request", name, text);
        }
    }
}
