#!/usr/bin/env python3
"""MRENCLAVE, REPORT and EGETKEY, computed a second time, from the manual alone.

Nothing here is shared with the silicon: the layouts are those of the SDM, vol. 3D, chapter 35, the
operations those of chapter 38; SHA-256 and HMAC are Python's, AES (FIPS 197) and CMAC (NIST SP 800-38B) are below.

    identity.py --records PROGRAM --enclave-tool PROGRAM [--shared DIR] [--seed N] [--enclaves N]

Runs PROGRAM, which drives the silicon with random operands and prints what it was given and what it answered, and
compares each answer. Then compares `cloister-enclave inspect` with what this file makes of random SGXS streams, and
of enclaves that others signed, where the directory has them.
"""
import argparse
import hashlib
import hmac
import json
import pathlib
import random
import struct
import subprocess
import sys
import tempfile


# ------------------------------------------------------------------------------------------ AES-128 and CMAC

def _xtime(byte):
    return (byte << 1) ^ (0x11B if byte & 0x80 else 0)


def _sbox():
    """FIPS 197, 5.1.1: the inverse in GF(2^8), then an affine map."""
    power, log, exponent = [0] * 256, [0] * 256, 1
    for i in range(255):  # 3 generates the field
        power[i], log[exponent] = exponent, i
        exponent ^= _xtime(exponent)
    box = []
    for byte in range(256):
        inverse = power[(255 - log[byte]) % 255] if byte else 0
        rotated = inverse * 0x101
        box.append((inverse ^ rotated >> 4 ^ rotated >> 5 ^ rotated >> 6 ^ rotated >> 7 ^ 0x63) & 0xFF)
    return box


SBOX = _sbox()
DOUBLE = [_xtime(byte) for byte in range(256)]


class Aes128:
    def __init__(self, key):
        words = [list(key[i:i + 4]) for i in range(0, 16, 4)]
        constant = 1
        for i in range(4, 44):
            word = words[i - 1]
            if i % 4 == 0:
                word = [SBOX[b] for b in word[1:] + word[:1]]
                word[0] ^= constant
                constant = _xtime(constant)
            words.append([a ^ b for a, b in zip(words[i - 4], word)])
        self.round_keys = [sum(words[i:i + 4], []) for i in range(0, 44, 4)]

    def encrypt(self, block):
        state = [a ^ b for a, b in zip(block, self.round_keys[0])]
        for number in range(1, 11):
            # SubBytes and ShiftRows: row r of the columns moves r columns to the left.
            state = [SBOX[state[(i + 4 * (i % 4)) % 16]] for i in range(16)]
            if number != 10:
                mixed = []
                for c in range(0, 16, 4):
                    column = state[c:c + 4]
                    every = column[0] ^ column[1] ^ column[2] ^ column[3]
                    mixed += [column[r] ^ every ^ DOUBLE[column[r] ^ column[(r + 1) % 4]] for r in range(4)]
                state = mixed
            state = [a ^ b for a, b in zip(state, self.round_keys[number])]
        return bytes(state)


def cmac(key, message):
    """NIST SP 800-38B, 6.2."""
    cipher = Aes128(key)

    def doubled(block):
        number = int.from_bytes(block, "big") << 1
        return ((number & (1 << 128) - 1) ^ (0x87 if number >> 128 else 0)).to_bytes(16, "big")

    subkey = doubled(cipher.encrypt(bytes(16)))
    tail = len(message) % 16 or 16 * bool(message)
    body, last = message[:len(message) - tail], message[len(message) - tail:]
    if tail < 16:
        subkey = doubled(subkey)
        last += b"\x80" + bytes(15 - tail)
    state = bytes(16)
    for i in range(0, len(body), 16):
        state = cipher.encrypt(bytes(a ^ b for a, b in zip(state, body[i:i + 16])))
    return cipher.encrypt(bytes(a ^ b ^ c for a, b, c in zip(state, last, subkey)))


# FIPS 197, appendix B, and RFC 4493, section 4.
assert Aes128(bytes.fromhex("2b7e151628aed2a6abf7158809cf4f3c")).encrypt(
    bytes.fromhex("3243f6a8885a308d313198a2e0370734")).hex() == "3925841d02dc09fbdc118597196a0b32"
for _size, _mac in ((0, "bb1d6929e95937287fa37d129b756746"), (16, "070a16b46b4d4144f79bdd9dd04a287c"),
                    (40, "dfa66747de9ae63030ca32611497c827")):
    assert cmac(bytes.fromhex("2b7e151628aed2a6abf7158809cf4f3c"), bytes.fromhex(
        "6bc1bee22e409f96e93d7e117393172aae2d8a571e03ac9c9eb76fac45af8e5130c81c46a35ce411")[:_size]).hex() == _mac


# ------------------------------------------------------------------------------------------ structures

class Struct:
    """A structure in memory: `fields` are (name, offset, bytes); small ones are numbers, the others stay bytes."""
    fields = ()

    def __init__(self, raw):
        self.raw = bytes(raw)
        for name, offset, size in self.fields:
            value = self.raw[offset:offset + size]
            setattr(self, name, int.from_bytes(value, "little") if size <= 8 else value)


class Secs(Struct):
    fields = (("size", 0, 8), ("base", 8, 8), ("ssa_frame_size", 16, 4), ("miscselect", 20, 4),
              ("cet_attributes", 32, 1), ("attributes", 48, 8), ("xfrm", 56, 8), ("mrenclave", 64, 32),
              ("mrsigner", 128, 32), ("configid", 192, 64), ("isvprodid", 256, 2), ("isvsvn", 258, 2),
              ("configsvn", 260, 2))


class Sigstruct(Struct):
    fields = (("modulus", 128, 384), ("signature", 516, 384), ("miscselect", 900, 4), ("miscmask", 904, 4),
              ("isvfamilyid", 912, 16), ("attributes", 928, 8), ("xfrm", 936, 8), ("attributemask", 944, 8),
              ("xfrmmask", 952, 8), ("enclavehash", 960, 32), ("isvextprodid", 1008, 16), ("isvprodid", 1024, 2),
              ("isvsvn", 1026, 2))


class Einittoken(Struct):
    fields = (("valid", 0, 4), ("attributes", 48, 16), ("mrenclave", 64, 32), ("mrsigner", 128, 32),
              ("cpusvn", 192, 16), ("isvprodid", 208, 2), ("isvsvn", 210, 2), ("cet_attributes", 212, 1),
              ("reserved4", 213, 23), ("miscselect", 236, 4), ("maskedattributes", 240, 16), ("keyid", 256, 32),
              ("mac", 288, 16))


class Keyrequest(Struct):
    fields = (("keyname", 0, 2), ("keypolicy", 2, 2), ("isvsvn", 4, 2), ("cet_attributes_mask", 6, 1),
              ("reserved1", 7, 1), ("cpusvn", 8, 16), ("attributemask", 24, 8), ("xfrmmask", 32, 8), ("keyid", 40, 32),
              ("miscmask", 72, 4), ("configsvn", 76, 2), ("reserved2", 78, 434))


class Targetinfo(Struct):
    fields = (("measurement", 0, 32), ("attributes", 32, 16), ("cet_attributes", 48, 1), ("configsvn", 50, 2),
              ("miscselect", 52, 4), ("configid", 64, 64))


INIT, DEBUG, PROVISIONKEY, EINITTOKENKEY, KSS = 1 << 0, 1 << 1, 1 << 4, 1 << 5, 1 << 7  # ATTRIBUTES, table 35-3
MRENCLAVE, MRSIGNER, NOISVPRODID, CONFIGID, ISVFAMILYID, ISVEXTPRODID = (1 << i for i in range(6))  # KEYPOLICY
PT_TCS, PT_REG = 1, 2
GP = -13
INVALID_ATTRIBUTE, INVALID_MEASUREMENT, INVALID_SIGNATURE, INVALID_EINITTOKEN = 2, 4, 8, 16  # table 38-4
INVALID_CPUSVN, INVALID_ISVSVN, INVALID_KEYNAME = 32, 64, 256

# EGETKEY, HARDCODED_PKCS1_5_PADDING: what PKCS #1 v1.5 puts before the digest of a 3072-bit signature.
PADDING = b"\x00\x01" + b"\xff" * 330 + bytes.fromhex("003031300d060960864801650304020105000420")


# ------------------------------------------------------------------------------------------ measurement

class Measurement:
    """MRENCLAVE: the 64-byte blocks that ECREATE, EADD and EEXTEND hash (their operations in 38.3)."""

    def __init__(self):
        self.hash = hashlib.sha256()

    def ecreate(self, ssa_frame_size, size):
        self.hash.update(struct.pack("<8sIQ44x", b"ECREATE", ssa_frame_size, size))

    def eadd(self, offset, secinfo):
        self.hash.update(struct.pack("<8sQ48s", b"EADD", offset, secinfo))

    def eextend(self, offset, chunk):
        self.hash.update(struct.pack("<8sQ48x", b"EEXTEND", offset) + chunk)

    def value(self):
        return self.hash.digest()


# ------------------------------------------------------------------------------------------ the platform's keys

# What derivekey takes: KEYDEPENDENCIES of EGETKEY (38.4). Which bits the processor puts where is its own affair; here
# they follow one another, little-endian, in this order.
DEPENDENCIES = (("keyname", 2), ("keypolicy", 2), ("isvprodid", 2), ("isvsvn", 2), ("configsvn", 2),
                ("cet_attributes", 1), ("cet_attributes_mask", 1), ("miscselect", 4), ("miscmask", 4), ("cpusvn", 16),
                ("isvextprodid", 16), ("isvfamilyid", 16), ("ownerepoch", 16), ("seal_fuses", 16), ("attributes", 16),
                ("attributesmask", 16), ("mrenclave", 32), ("mrsigner", 32), ("keyid", 32), ("configid", 64),
                ("padding", 352))


class Platform:
    """Ours, where the manual leaves it to the processor: how the fused secrets follow from one root secret."""

    def __init__(self, root, boot):
        def labelled(label, boot_number):
            return hmac.new(root, struct.pack("<Q", boot_number) + label, "sha256").digest()

        self.master = labelled(b"master", 0)[:16]
        self.ownerepoch = labelled(b"owner epoch", 0)[:16]
        self.seal_fuses = labelled(b"seal fuses", 0)[:16]
        self.report_keyid = labelled(b"report keyid", boot)
        self.cpusvn = b"\x01" + bytes(15)

    def supports(self, cpusvn):
        return all(asked <= have for asked, have in zip(cpusvn, self.cpusvn))

    def derivekey(self, **given):
        message = b""
        for name, size in DEPENDENCIES:
            value = given.pop(name, 0)
            message += value.to_bytes(size, "little") if isinstance(value, int) else value
        assert not given and len(message) == sum(size for _, size in DEPENDENCIES)
        return cmac(self.master, message)

    def report_key(self, measurement, attributes, miscselect, cet_attributes, configid, configsvn, keyid):
        """The key with which EREPORT authenticates for a target, and which EGETKEY gives to that target."""
        return self.derivekey(
            keyname=3, mrenclave=measurement, attributes=attributes, miscselect=miscselect,
            cet_attributes=cet_attributes, configid=configid, configsvn=configsvn, keyid=keyid, cpusvn=self.cpusvn,
            ownerepoch=self.ownerepoch, seal_fuses=self.seal_fuses, padding=PADDING)

    def token_key(self, token, launch_signer):
        """EINIT: the key that the launch enclave got for its token."""
        return self.derivekey(
            keyname=0, isvprodid=token.isvprodid, isvsvn=token.isvsvn, cpusvn=token.cpusvn,
            miscselect=token.miscselect, cet_attributes=token.cet_attributes, attributes=token.maskedattributes,
            mrsigner=launch_signer, keyid=token.keyid, ownerepoch=self.ownerepoch, seal_fuses=self.seal_fuses,
            padding=PADDING)


# ------------------------------------------------------------------------------------------ an enclave

class Enclave:
    def __init__(self, platform, secs):
        self.platform, self.secs = platform, Secs(secs)
        self.measurement = Measurement()
        self.measurement.ecreate(self.secs.ssa_frame_size, self.secs.size)
        self.pages = {}
        self.isvfamilyid = self.isvextprodid = bytes(16)

    def eadd(self, index, linaddr, secinfo, page):
        flags = int.from_bytes(secinfo[:8], "little")
        if flags >> 8 & 0xFF == PT_TCS:
            # The processor owns STATE, CSSA and AEP, and clears DBGOPTIN; nobody has rights to the page.
            flags &= ~7
            state, tcs_flags, ossa, _cssa = struct.unpack_from("<QQQI", page)
            page = struct.pack("<QQQI", 0, tcs_flags & ~1, ossa, 0) + page[28:40] + bytes(8) + page[48:]
        secinfo = flags.to_bytes(8, "little") + secinfo[8:]
        offset = linaddr - self.secs.base
        self.measurement.eadd(offset, secinfo[:48])
        self.pages[index] = (offset, page)

    def eextend(self, index, at):
        offset, page = self.pages[index]
        self.measurement.eextend(offset + at, page[at:at + 256])

    def einit(self, sigstruct, token, launch_signer):
        """RAX of EINIT for operands whose form is right."""
        signed, token, secs = Sigstruct(sigstruct), Einittoken(token), self.secs
        modulus, signature = (int.from_bytes(x, "little") for x in (signed.modulus, signed.signature))
        digest = hashlib.sha256(signed.raw[:128] + signed.raw[900:1028]).digest()
        if signature >= modulus or pow(signature, 3, modulus).to_bytes(384, "big") != PADDING + digest:
            return INVALID_SIGNATURE
        mrsigner, mrenclave = hashlib.sha256(signed.modulus).digest(), self.measurement.value()
        if mrenclave != signed.enclavehash:
            return INVALID_MEASUREMENT
        if secs.attributes & EINITTOKENKEY and mrsigner != launch_signer:
            return INVALID_ATTRIBUTE
        if ((secs.attributes ^ signed.attributes) & signed.attributemask or (secs.xfrm ^ signed.xfrm) & signed.xfrmmask
                or (secs.miscselect ^ signed.miscselect) & signed.miscmask):
            return INVALID_ATTRIBUTE
        if not token.valid & 1:
            if mrsigner != launch_signer:
                return INVALID_EINITTOKEN
        else:
            if token.maskedattributes[0] & DEBUG and not secs.attributes & DEBUG or any(token.reserved4):
                return INVALID_EINITTOKEN
            if not self.platform.supports(token.cpusvn):
                return INVALID_CPUSVN
            if cmac(self.platform.token_key(token, launch_signer), token.raw[:192]) != token.mac:
                return INVALID_EINITTOKEN
            if (token.mrenclave, token.mrsigner) != (mrenclave, mrsigner):
                return INVALID_MEASUREMENT
            if token.attributes != secs.raw[48:64]:
                return INVALID_ATTRIBUTE
        secs.mrenclave, secs.mrsigner = mrenclave, mrsigner
        secs.isvprodid, secs.isvsvn = signed.isvprodid, signed.isvsvn
        secs.attributes |= INIT
        self.isvfamilyid, self.isvextprodid = signed.isvfamilyid, signed.isvextprodid
        return 0

    def whole_attributes(self):
        return struct.pack("<QQ", self.secs.attributes, self.secs.xfrm)

    def ereport(self, targetinfo, reportdata):
        """REPORT; the MAC covers its first 384 bytes."""
        target, secs, platform = Targetinfo(targetinfo), self.secs, self.platform
        body = struct.pack("<16sIB11x16s16s32s32x32s32x64sHHH42x16s64s", platform.cpusvn, secs.miscselect,
                           secs.cet_attributes, self.isvextprodid, self.whole_attributes(), secs.mrenclave,
                           secs.mrsigner, secs.configid, secs.isvprodid, secs.isvsvn, secs.configsvn,
                           self.isvfamilyid, reportdata)
        assert len(body) == 384
        key = platform.report_key(target.measurement, target.attributes, target.miscselect, target.cet_attributes,
                                  target.configid, target.configsvn, platform.report_keyid)
        return body + platform.report_keyid + cmac(key, body)

    def egetkey(self, keyrequest):
        """RAX (or minus the vector of a fault) and the key, by EGETKEY's operation."""
        request, secs, platform = Keyrequest(keyrequest), self.secs, self.platform
        policy = request.keypolicy
        if request.reserved1 or any(request.reserved2) or policy >> 6:
            return GP, None
        if not secs.attributes & KSS and (policy >> 2 or request.configsvn):
            return GP, None
        if request.keyname > 4:
            return INVALID_KEYNAME, None
        if request.keyname == 3:  # REPORT_KEY
            return 0, platform.report_key(secs.mrenclave, self.whole_attributes(), secs.miscselect,
                                          secs.cet_attributes, secs.configid, secs.configsvn, request.keyid)
        needed = {0: EINITTOKENKEY, 1: PROVISIONKEY, 2: PROVISIONKEY, 4: 0}[request.keyname]
        if secs.attributes & needed != needed:
            return INVALID_ATTRIBUTE, None
        if not platform.supports(request.cpusvn):
            return INVALID_CPUSVN, None
        if request.isvsvn > secs.isvsvn or request.keyname == 4 and request.configsvn > secs.configsvn:
            return INVALID_ISVSVN, None

        # Sealing always masks in INIT and DEBUG (TMP_ATTRIBUTES).
        attributes = struct.pack("<QQ", (request.attributemask | INIT | DEBUG) & secs.attributes,
                                 request.xfrmmask & secs.xfrm)
        given = dict(keyname=request.keyname, cpusvn=request.cpusvn, isvsvn=request.isvsvn, attributes=attributes,
                     miscselect=request.miscmask & secs.miscselect,
                     cet_attributes=request.cet_attributes_mask & secs.cet_attributes, padding=PADDING)
        masks = dict(attributesmask=struct.pack("<QQ", request.attributemask, request.xfrmmask),
                     miscmask=~request.miscmask & 0xFFFFFFFF)
        by_policy = dict(keypolicy=policy)
        if not policy & NOISVPRODID:
            by_policy["isvprodid"] = secs.isvprodid
        if policy & CONFIGID:
            by_policy |= dict(configid=secs.configid, configsvn=request.configsvn)
        if policy & ISVFAMILYID:
            by_policy["isvfamilyid"] = self.isvfamilyid
        if policy & ISVEXTPRODID:
            by_policy["isvextprodid"] = self.isvextprodid
        if request.keyname == 0:  # EINITTOKEN_KEY
            given |= dict(isvprodid=secs.isvprodid, mrsigner=secs.mrsigner, keyid=request.keyid,
                          ownerepoch=platform.ownerepoch, seal_fuses=platform.seal_fuses)
        elif request.keyname == 1:  # PROVISION_KEY
            given |= dict(isvprodid=secs.isvprodid, mrsigner=secs.mrsigner) | masks
        elif request.keyname == 2:  # PROVISION_SEAL_KEY
            given |= dict(mrsigner=secs.mrsigner, seal_fuses=platform.seal_fuses) | masks | by_policy
        else:  # SEAL_KEY
            given |= dict(keyid=request.keyid, ownerepoch=platform.ownerepoch, seal_fuses=platform.seal_fuses,
                          cet_attributes_mask=request.cet_attributes_mask) | masks | by_policy
            if policy & MRENCLAVE:
                given["mrenclave"] = secs.mrenclave
            if policy & MRSIGNER:
                given["mrsigner"] = secs.mrsigner
        return 0, platform.derivekey(**given)


# ------------------------------------------------------------------------------------------ comparisons

class Mismatch(Exception):
    pass


def same(what, computed, silicon):
    if computed != silicon:
        show = lambda x: x.hex() if isinstance(x, bytes) else x
        raise Mismatch(f"{what}: the manual says {show(computed)}, the silicon {show(silicon)}")


def check_record(state, record):
    """One line of the records. `state` holds the platform and its enclave."""
    raw = {name: bytes.fromhex(value) for name, value in record.items() if isinstance(value, str) and name != "step"}
    step, enclave = record["step"], state.get("enclave")
    if step == "platform":
        state["platform"] = Platform(raw["root"], record["boot"])
    elif step == "ecreate":
        state["enclave"] = Enclave(state["platform"], raw["secs"])
    elif step == "eadd":
        enclave.eadd(record["index"], record["linaddr"], raw["secinfo"], raw["page"])
    elif step == "eextend":
        enclave.eextend(record["index"], record["offset"])
    elif step == "einit":
        rax = enclave.einit(raw["sigstruct"], raw["token"], raw["lepubkeyhash"])
        same("RAX of EINIT", rax, record["rax"])
        secs = Secs(raw["secs"])
        if rax == 0:
            for name, _, _ in Secs.fields:
                same(f"SECS.{name} after EINIT", getattr(enclave.secs, name), getattr(secs, name))
    elif step == "ereport":
        same("REPORT", enclave.ereport(raw["targetinfo"], raw["reportdata"]), raw["report"])
    elif step == "egetkey":
        rax, key = enclave.egetkey(raw["keyrequest"])
        same("RAX of EGETKEY", rax, record["rax"])
        same("key", key or bytes(16), raw["key"])
    else:
        raise Mismatch(f"unknown step {step}")


def check_records(program, seed, enclaves):
    lines = subprocess.run([program, str(seed), str(enclaves)], check=True, capture_output=True, text=True).stdout
    state, seen = {}, {}
    for number, line in enumerate(lines.splitlines(), 1):
        record = json.loads(line)
        try:
            check_record(state, record)
        except Mismatch as mismatch:
            shown = {name: value for name, value in record.items() if name not in ("page", "secs")}
            raise Mismatch(f"seed {seed}, line {number}: {mismatch}\n{json.dumps(shown)}") from None
        what = record["step"] + {True: "", False: " refused"}[record.get("rax", 0) == 0]
        if record["step"] == "egetkey" and record["rax"] == 0:
            what += " " + str(Keyrequest(bytes.fromhex(record["keyrequest"])).keyname)
        seen[what] = seen.get(what, 0) + 1
    # Each key and each leaf has been asked for, or the comparison says less than it seems to.
    wanted = ["ereport", "einit", "einit refused", "egetkey refused"] + [f"egetkey {name}" for name in range(5)]
    if missing := [what for what in wanted if what not in seen]:
        raise Mismatch(f"seed {seed}: the records have no {', '.join(missing)}")
    return seen


def measure_sgxs(stream):
    """MRENCLAVE of an SGXS stream: the blocks of the build instructions, in their order; UNMEASRD is not hashed."""
    digest, at = hashlib.sha256(), 0
    while at < len(stream):
        tag = stream[at:at + 8].rstrip(b"\0")
        length = 64 + (256 if tag in (b"EEXTEND", b"UNMEASRD") else 0)
        if tag != b"UNMEASRD":
            digest.update(stream[at:at + length])
        at += length
    return digest.digest()


def random_sgxs(chance):
    size = 1 << chance.randrange(13, 30)
    stream, measurement = struct.pack("<8sIQ44x", b"ECREATE", chance.randrange(1, 5), size), Measurement()
    measurement.ecreate(*struct.unpack_from("<IQ", stream, 8))
    for offset in chance.sample(range(0, size, 4096), min(4, size // 4096)):
        flags = chance.choice([PT_TCS << 8] + [PT_REG << 8 | rights for rights in (0, 1, 3, 4, 5, 7)])
        stream += struct.pack("<8sQQ40x", b"EADD", offset, flags)
        measurement.eadd(offset, flags.to_bytes(48, "little"))
        for chunk in chance.sample(range(offset, offset + 4096, 256), chance.randrange(17)):
            tag, data = chance.choice([b"EEXTEND", b"UNMEASRD"]), chance.randbytes(256)
            stream += struct.pack("<8sQ48x", tag, chunk) + data
            if tag == b"EEXTEND":
                measurement.eextend(chunk, data)
    return stream, measurement.value()


def inspected(tool, path):
    text = subprocess.run([tool, "inspect", path], check=True, capture_output=True, text=True).stdout
    return bytes.fromhex(next(line.split()[1] for line in text.splitlines() if line.startswith("mrenclave")))


def check_streams(tool, seed, count):
    chance = random.Random(seed)
    with tempfile.TemporaryDirectory() as directory:
        path = pathlib.Path(directory) / "random.sgxs"
        for number in range(count):
            stream, mrenclave = random_sgxs(chance)
            path.write_bytes(stream)
            same(f"seed {seed}: MRENCLAVE of random stream {number}", mrenclave, inspected(tool, path))
            same(f"seed {seed}: random stream {number} read again", mrenclave, measure_sgxs(stream))


def check_shared(tool, directory):
    """Enclaves that others built and signed."""
    checked = 0
    for path in sorted(directory.glob("*.sgxs")) if directory else []:
        mrenclave = measure_sgxs(path.read_bytes())
        same(f"MRENCLAVE of {path.name}", mrenclave, inspected(tool, path))
        signature = path.with_suffix(".sig")
        if signature.exists():
            same(f"ENCLAVEHASH of {signature.name}", mrenclave, Sigstruct(signature.read_bytes()).enclavehash)
        checked += 1
    return checked


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--records", required=True)
    parser.add_argument("--enclave-tool", required=True)
    parser.add_argument("--shared", type=pathlib.Path)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--enclaves", type=int, default=60)
    arguments = parser.parse_args()
    try:
        seen = check_records(arguments.records, arguments.seed, arguments.enclaves)
        check_streams(arguments.enclave_tool, arguments.seed, arguments.enclaves)
        others = check_shared(arguments.enclave_tool, arguments.shared)
    except Mismatch as mismatch:
        sys.exit(str(mismatch))
    print(", ".join(f"{count} {what}" for what, count in sorted(seen.items())))
    print(f"{arguments.enclaves} random streams, {others} enclaves of others")


if __name__ == "__main__":
    main()
