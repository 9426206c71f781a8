"""
Operators: names and countries of mobile networks by MCC and MNC (ITU-T E.212).

The list of countries is complete as of 2024, with code (ISO 3166-1) and short name. Only a few well-known
networks have a name here, because brands change; other networks are shown by their digits.
"""

from __future__ import annotations

from typing import Final, NamedTuple


class Country(NamedTuple):
    """The country of a mobile country code."""

    code: str
    """ISO 3166-1 alpha-2 (``NO``)."""
    name: str


def country_of(mcc: str) -> Country | None:
    """Return the country of a mobile country code, three digits; None for test and satellite networks."""
    return _COUNTRIES.get(mcc)


def network_name(mcc: str, mnc: str) -> str:
    """Return the name of a network; empty if it is unknown."""
    return _NETWORKS.get(mcc + mnc, "")


def _countries(table: str) -> dict[str, Country]:
    """Read lines of letters, codes and a name: ``US 310,311 United States``."""
    found = {}
    for line in table.strip().splitlines():
        letters, codes, name = line.split(maxsplit=2)
        found.update(dict.fromkeys(codes.split(","), Country(letters, name)))
    return found


_COUNTRIES: Final = _countries("""
GR 202 Greece
NL 204 Netherlands
BE 206 Belgium
FR 208 France
MC 212 Monaco
AD 213 Andorra
ES 214 Spain
HU 216 Hungary
BA 218 Bosnia and Herzegovina
HR 219 Croatia
RS 220 Serbia
XK 221 Kosovo
IT 222 Italy
VA 225 Vatican City
RO 226 Romania
CH 228 Switzerland
CZ 230 Czechia
SK 231 Slovakia
AT 232 Austria
GB 234,235 United Kingdom
DK 238 Denmark
SE 240 Sweden
NO 242 Norway
FI 244 Finland
LT 246 Lithuania
LV 247 Latvia
EE 248 Estonia
RU 250 Russia
UA 255 Ukraine
BY 257 Belarus
MD 259 Moldova
PL 260 Poland
DE 262 Germany
GI 266 Gibraltar
PT 268 Portugal
LU 270 Luxembourg
IE 272 Ireland
IS 274 Iceland
AL 276 Albania
MT 278 Malta
CY 280 Cyprus
GE 282 Georgia
AM 283 Armenia
BG 284 Bulgaria
TR 286 Türkiye
FO 288 Faroe Islands
GL 290 Greenland
SM 292 San Marino
SI 293 Slovenia
MK 294 North Macedonia
LI 295 Liechtenstein
ME 297 Montenegro
CA 302 Canada
PM 308 Saint Pierre and Miquelon
US 310,311,312,313,314,315,316 United States
PR 330 Puerto Rico
VI 332 United States Virgin Islands
MX 334 Mexico
JM 338 Jamaica
GP 340 Guadeloupe
BB 342 Barbados
AG 344 Antigua and Barbuda
KY 346 Cayman Islands
VG 348 British Virgin Islands
BM 350 Bermuda
GD 352 Grenada
MS 354 Montserrat
KN 356 Saint Kitts and Nevis
LC 358 Saint Lucia
VC 360 Saint Vincent and the Grenadines
CW 362 Curaçao
AW 363 Aruba
BS 364 Bahamas
AI 365 Anguilla
DM 366 Dominica
CU 368 Cuba
DO 370 Dominican Republic
HT 372 Haiti
TT 374 Trinidad and Tobago
TC 376 Turks and Caicos Islands
AZ 400 Azerbaijan
KZ 401 Kazakhstan
BT 402 Bhutan
IN 404,405,406 India
PK 410 Pakistan
AF 412 Afghanistan
LK 413 Sri Lanka
MM 414 Myanmar
LB 415 Lebanon
JO 416 Jordan
SY 417 Syria
IQ 418 Iraq
KW 419 Kuwait
SA 420 Saudi Arabia
YE 421 Yemen
OM 422 Oman
AE 424,430,431 United Arab Emirates
IL 425 Israel
BH 426 Bahrain
QA 427 Qatar
MN 428 Mongolia
NP 429 Nepal
IR 432 Iran
UZ 434 Uzbekistan
TJ 436 Tajikistan
KG 437 Kyrgyzstan
TM 438 Turkmenistan
JP 440,441 Japan
KR 450 South Korea
VN 452 Viet Nam
HK 454 Hong Kong
MO 455 Macao
KH 456 Cambodia
LA 457 Laos
CN 460,461 China
TW 466 Taiwan
KP 467 North Korea
BD 470 Bangladesh
MV 472 Maldives
MY 502 Malaysia
AU 505 Australia
ID 510 Indonesia
TL 514 Timor-Leste
PH 515 Philippines
TH 520 Thailand
SG 525 Singapore
BN 528 Brunei
NZ 530 New Zealand
NR 536 Nauru
PG 537 Papua New Guinea
TO 539 Tonga
SB 540 Solomon Islands
VU 541 Vanuatu
FJ 542 Fiji
WF 543 Wallis and Futuna
AS 544 American Samoa
KI 545 Kiribati
NC 546 New Caledonia
PF 547 French Polynesia
CK 548 Cook Islands
WS 549 Samoa
FM 550 Micronesia
MH 551 Marshall Islands
PW 552 Palau
TV 553 Tuvalu
TK 554 Tokelau
NU 555 Niue
EG 602 Egypt
DZ 603 Algeria
MA 604 Morocco
TN 605 Tunisia
LY 606 Libya
GM 607 Gambia
SN 608 Senegal
MR 609 Mauritania
ML 610 Mali
GN 611 Guinea
CI 612 Côte d'Ivoire
BF 613 Burkina Faso
NE 614 Niger
TG 615 Togo
BJ 616 Benin
MU 617 Mauritius
LR 618 Liberia
SL 619 Sierra Leone
GH 620 Ghana
NG 621 Nigeria
TD 622 Chad
CF 623 Central African Republic
CM 624 Cameroon
CV 625 Cabo Verde
ST 626 São Tomé and Príncipe
GQ 627 Equatorial Guinea
GA 628 Gabon
CG 629 Congo
CD 630 Democratic Republic of the Congo
AO 631 Angola
GW 632 Guinea-Bissau
SC 633 Seychelles
SD 634 Sudan
RW 635 Rwanda
ET 636 Ethiopia
SO 637 Somalia
DJ 638 Djibouti
KE 639 Kenya
TZ 640 Tanzania
UG 641 Uganda
BI 642 Burundi
MZ 643 Mozambique
ZM 645 Zambia
MG 646 Madagascar
RE 647 Réunion
ZW 648 Zimbabwe
NA 649 Namibia
MW 650 Malawi
LS 651 Lesotho
BW 652 Botswana
SZ 653 Eswatini
KM 654 Comoros
ZA 655 South Africa
ER 657 Eritrea
SH 658 Saint Helena
SS 659 South Sudan
BZ 702 Belize
GT 704 Guatemala
SV 706 El Salvador
HN 708 Honduras
NI 710 Nicaragua
CR 712 Costa Rica
PA 714 Panama
PE 716 Peru
AR 722 Argentina
BR 724 Brazil
CL 730 Chile
CO 732 Colombia
VE 734 Venezuela
BO 736 Bolivia
GY 738 Guyana
EC 740 Ecuador
GF 742 French Guiana
PY 744 Paraguay
SR 746 Suriname
UY 748 Uruguay
FK 750 Falkland Islands
""")

_NETWORKS: Final = {
    "20404": "Vodafone",
    "20408": "KPN",
    "20601": "Proximus",
    "20801": "Orange",
    "20810": "SFR",
    "20820": "Bouygues Telecom",
    "21401": "Vodafone",
    "21403": "Orange",
    "21407": "Movistar",
    "22201": "TIM",
    "22210": "Vodafone",
    "22801": "Swisscom",
    "22802": "Sunrise",
    "22803": "Salt",
    "23201": "A1",
    "23415": "Vodafone",
    "23420": "3",
    "23430": "EE",
    "23801": "TDC",
    "23802": "Telenor",
    "24001": "Telia",
    "24007": "Tele2",
    "24008": "Telenor",
    "24201": "Telenor",
    "24202": "Telia",
    "24214": "ice",
    "24405": "Elisa",
    "24412": "DNA",
    "24491": "Telia",
    "26201": "Telekom",
    "26202": "Vodafone",
    "26203": "O2",
    "310260": "T-Mobile",
    "310410": "AT&T",
    "311480": "Verizon",
    "50501": "Telstra",
}
