// Files that tell of hosts, shortened: facts of libvirt's test data and of QEMU's documentation.
#pragma once

namespace cloister::tests {

/// libvirt, tests/cputestdata: a Core i7-8550U with SGX off in firmware.
inline constexpr const char* cpudata = R"(<!-- Intel(R) Core(TM) i7-8550U CPU @ 1.80GHz -->
<cpudata arch='x86'>
  <cpuid eax_in='0x00000000' ecx_in='0x00' eax='0x00000016' ebx='0x756e6547' ecx='0x6c65746e' edx='0x49656e69'/>
  <cpuid eax_in='0x00000001' ecx_in='0x00' eax='0x000806ea' ebx='0x00100800' ecx='0x7ffafbbf' edx='0xbfebfbff'/>
  <cpuid eax_in='0x00000007' ecx_in='0x00' eax='0x00000000' ebx='0x029c67af' ecx='0x00000000' edx='0x9c002400'/>
  <cpuid eax_in='0x00000012' ecx_in='0x00' eax='0x00000000' ebx='0x00000000' ecx='0x00000000' edx='0x00000000'/>
  <cpuid eax_in='0x80000000' ecx_in='0x00' eax='0x80000008' ebx='0x00000000' ecx='0x00000000' edx='0x00000000'/>
  <cpuid eax_in='0x80000001' ecx_in='0x00' eax='0x00000000' ebx='0x00000000' ecx='0x00000121' edx='0x2c100800'/>
  <msr index='0x10a' edx='0x00000000' eax='0x00000048'/>
</cpudata>
)";

/// `virsh domcapabilities`; the sections are those of two Xeon Gold 6354.
inline constexpr const char* domain_capabilities = R"(<domainCapabilities>
  <path>/usr/bin/qemu-system-x86_64</path>
  <domain>kvm</domain>
  <machine>pc-i440fx-9.0</machine>
  <arch>x86_64</arch>
  <cpu>
    <mode name='host-passthrough' supported='yes'/>
    <mode name='host-model' supported='yes'>
      <model fallback='forbid'>Icelake-Server</model>
      <vendor>Intel</vendor>
      <feature policy='require' name='sgx'/>
      <feature policy='require' name='sgx-debug'/>
      <feature policy='require' name='vmx-activity-hlt'/>
      <feature policy='disable' name='mpx'/>
    </mode>
    <mode name='custom' supported='yes'>
      <model usable='yes' vendor='unknown'>qemu64</model>
    </mode>
  </cpu>
  <features>
    <gic supported='no'/>
    <sgx supported='yes'>
      <flc>yes</flc>
      <sgx1>yes</sgx1>
      <sgx2>yes</sgx2>
      <section_size unit='KiB'>4161536</section_size>
      <sections>
        <section node='0' size='2076672' unit='KiB'/>
        <section node='1' size='2084864' unit='KiB'/>
      </sections>
    </sgx>
  </features>
</domainCapabilities>
)";

/// A session, as libvirt's tests keep them: answers one after the other, among others that say nothing of the host.
inline constexpr const char* qmp_session = R"({"QMP": {"version": {"qemu": {"micro": 0, "minor": 2, "major": 7}}}}
{
  "return": {
    "model": {
      "name": "base",
      "props": {
        "sgx": true,
        "sgxlc": true,
        "sgx-debug": true,
        "sgx-provisionkey": false,
        "lm": true,
        "family": 6,
        "vendor": "GenuineIntel",
        "hv-relaxed": false
      }
    }
  },
  "id": "model-expansion"
}

{"return": [{"name": "max", "unavailable-features": [], "static": false}]}
{"return": {"sgx": true, "sgx2": true, "sgx1": true, "flc": true, "section-size": 96468992,
  "sections": [{"node": 0, "size": 67108864}, {"node": 1, "size": 29360128}]}}
)";

}  // namespace cloister::tests
