// Small maps of CPUs in the layouts that libvirt has had: files by name.
#pragma once

#include <map>
#include <string>

namespace cloister::tests {

using MapFolder = std::map<std::string, std::string>;

inline constexpr const char* map_vendors = R"(<cpus>
  <vendor name='Intel' string='GenuineIntel'/>
  <vendor name='AMD' string='AuthenticAMD'/>
</cpus>
)";

inline constexpr const char* map_features = R"(<!--
  A comment before the root.
-->
<cpus>
  <feature name='pni'>
    <alias name='sse3' source='qemu'/>
    <cpuid eax_in='0x01' ecx='0x00000001'/>
  </feature>
  <feature name='vmx'>
    <cpuid eax_in='0x01' ecx='0x00000020'/>
  </feature>
  <feature name='sgx'>
    <cpuid eax_in='0x07' ecx_in='0x00' ebx='0x00000004'/>
  </feature>
  <feature name='sgx-provisionkey'>
    <cpuid eax_in='0x12' ecx_in='0x01' eax='0x00000010'/>
  </feature>
  <feature name='invtsc' migratable='no'>
    <cpuid eax_in='0x80000007' edx='0x00000100'/>
  </feature>
  <feature name='rdctl-no'>
    <msr index='0x10a' edx='0x00000000' eax='0x00000001'/>
  </feature>
</cpus>
)";

/// libvirt 4.8 to 10: each model a file of its own.
inline const MapFolder& plain_map() {
  static const MapFolder folder{{"index.xml", R"(<cpus>
  <arch name='x86'>
    <include filename='x86_vendors.xml'/>
    <include filename='x86_features.xml'/>

    <!-- models -->
    <include filename='x86_old.xml'/>
    <include filename='x86_new.xml'/>
  </arch>
  <arch name='arm'>
    <include filename='arm_features.xml'/>
  </arch>
</cpus>
)"},
                                {"x86_vendors.xml", map_vendors},
                                {"x86_features.xml", map_features},
                                {"x86_old.xml", R"(<cpus>
  <model name='old'>
    <decode host='on' guest='off'/>
    <signature family='6' model='94'/> <!-- 0506e0 -->
    <signature family='15' model='6'/>
    <vendor name='Intel'/>
    <feature name='pni'/>
    <feature name='vmx' removed='yes'/>
  </model>
</cpus>
)"},
                                {"x86_new.xml", R"(<cpus>
  <model name='new'>
    <decode host='off' guest='on'/>
    <model name='old'/>
    <signature family='6' model='85' stepping='0-2,5'/>
    <signature family='23' model='1'/>
    <feature name='pni'/>
    <feature name='invtsc'/>
    <feature name='sgx' added='yes'/>
  </model>
</cpus>
)"}};
  return folder;
}

/// libvirt 11 and later: models in groups, with versions that are made of one another.
inline const MapFolder& grouped_map() {
  static const MapFolder folder{{"index.xml", R"(<cpus>
  <arch name='x86'>
    <include filename='x86_vendors.xml'/>
    <include filename='x86_features.xml'/>
    <group name='Intel CPU models'>
      <include filename='x86_new.xml'/>
      <include filename='x86_new-v1.xml'/>
      <include filename='x86_new-v2.xml'/>
    </group>
  </arch>
</cpus>
)"},
                                {"x86_vendors.xml", map_vendors},
                                {"x86_features.xml", map_features},
                                {"x86_new.xml", R"(<cpus>
  <model name='new'>
    <decode host='on' guest='on'/>
    <signature family='6' model='207'/>
    <vendor name='Intel'/>
    <feature name='pni'/>
  </model>
</cpus>
)"},
                                {"x86_new-v1.xml", R"(<cpus>
  <model name='new-v1'>
    <decode host='on' guest='off'/>
    <model name='new'/>
  </model>
</cpus>
)"},
                                {"x86_new-v2.xml", R"(<cpus>
  <model name='new-v2'>
    <decode host='on' guest='off'/>
    <model name='new-v1'/>
    <feature name='vmx'/>
  </model>
</cpus>
)"}};
  return folder;
}

/// Before libvirt 4.8: one file for all architectures; before 1.2.14, `function` for `eax_in`.
inline const MapFolder& single_map() {
  static const MapFolder folder{{"index.xml", R"(<cpus>
  <arch name='x86'>
    <vendor name='Intel' string='GenuineIntel'/>
    <feature name='pni'>
      <cpuid function='0x00000001' ecx='0x00000001'/>
    </feature>
    <model name='old'>
      <vendor name='Intel'/>
      <feature name='pni'/>
    </model>
  </arch>
  <arch name='ppc64'>
    <model name='POWER8'/>
  </arch>
</cpus>
)"}};
  return folder;
}

}  // namespace cloister::tests
