// EPC, enclaves and leaves for the tests of the check lists.
#pragma once

#include "../payload.hpp"
#include "arch/sgx.hpp"
#include "enclave_layout.hpp"

namespace sgx {

namespace arch = cloister::arch;

// ---- where things are

inline constexpr u64 page_bytes = 4096;
/// The base of every enclave here: ELRANGE is mapped for user and supervisor.
inline constexpr u64 enclave_base = 0x6000'0000;
constexpr u64 in_enclave(unsigned page) { return enclave_base + page * page_bytes; }
/// Where an enclave comes out by EEXIT, after the ENCLU that entered it; and the AEP, where ERESUME is: there it goes
/// on after an asynchronous exit that is no exception, which is the hypervisor's.
inline constexpr u64 after_enclu = code_va + 3, aep = code_va + 8;
inline constexpr u64 saved_offset = page_bytes - sizeof(arch::Gprsgx);  ///< of GPRSGX in a frame's last page

/// Places in the EPC: the SECS of an enclave (0 or 1), its pages, pages that are free, version arrays.
constexpr unsigned secs_of(unsigned enclave) { return enclave * 64; }
constexpr unsigned place_of(unsigned enclave, unsigned page) { return enclave * 64 + 1 + page; }
constexpr unsigned spare(unsigned i) { return 128 + i; }
constexpr unsigned version_array(unsigned i) { return 136 + i; }
inline constexpr unsigned places = 140;

/// Linear address of a place, for the supervisor.
u64 epc_at(unsigned place);
/// Its guest-physical address.
u64 physical_at(unsigned place);
/// Maps an address to RAM whose frame number has the low bits of the place's: what a processor that looked at no
/// others would take for it.
void map_alias(u64 linear, unsigned place, u64 flags);
/// The same at an address of its own, for the supervisor.
u64 alias_of(unsigned place);
/// Maps a page of ELRANGE to a place.
void map_enclave_page(unsigned page, unsigned place);

/// Operands outside the EPC.
struct alignas(page_bytes) Operands {
  u8 source[page_bytes];
  u8 image[page_bytes];
  arch::Sigstruct sigstruct;
  alignas(512) arch::Einittoken token;
  alignas(128) arch::Pcmd pcmd;
  alignas(64) arch::Secinfo secinfo;
  alignas(32) arch::Pageinfo pageinfo;
  alignas(32) arch::Rdinfo rdinfo;
  u64 value;
};
static_assert(sizeof(arch::Pageinfo) == 32);
extern Operands operands;
inline u64 address(const void* p) { return reinterpret_cast<u64>(p); }

// ---- leaves

struct Done {
  u64 rax, rbx;
  bool zf, cf;
};
/// Runs a leaf of ENCLS that does not fault.
Done encls(arch::EnclsLeaf leaf, u64 rbx, u64 rcx, u64 rdx = 0);

enum class Door : u8 { encls, enclu, enclv, inside };  ///< inside: ENCLU by the enclave's code

/// The instruction under test.
struct Call {
  Door door = Door::encls;
  u64 leaf = 0, rbx = 0, rcx = 0, rdx = 0;
  Mode mode = Mode::kernel64;
  void (*adjust)(Context&) = nullptr;  ///< a last change to the registers
  u16 es = 0;                          ///< user32: ES, if it is not to be DS
  unsigned frame = 0;                  ///< inside: the SSA frame of its asynchronous exit
  /// Not null: the second processor stays in enclave 0 while the leaf runs. This is called just before it, and short,
  /// since a VM exit of that processor would bring it out.
  void (*with_thread)() = nullptr;
  /// Flags before it: all that a leaf may change.
  static constexpr u64 flags = 0x8d5;
};
extern Call call;
/// How it ended; registers and flags as they were right after it, in or outside the enclave.
struct Ending {
  Trap trap;
  u64 rax, rbx, rcx, rdx, flags;
};
extern Ending ending;
void execute();

/// Sets `call` for a leaf of ENCLS, ENCLU outside and inside.
void call_encls(arch::EnclsLeaf leaf, u64 rbx, u64 rcx, u64 rdx = 0);
void call_enclu(arch::EncluLeaf leaf, u64 rbx, u64 rcx);
void call_inside(arch::EncluLeaf leaf, u64 rbx, u64 rcx, u64 rdx = 0);

// ---- enclaves

/// Entry points in the code page.
enum Entry : u64 {
  run_leaf = 0,        ///< runs the leaf of `call`, and comes out with its results; breaks off if RSI is all ones
  come_out = 0x100,    ///< EEXIT at once
  break_off = 0x200,   ///< UD2: an asynchronous exit
  stay = 0x300,        ///< spins until the word at RSI is not 0, then comes out
  count = 0x400,       ///< increases the word at RDI one by one, RSI times, and comes out with it as RAX
  vectors = 0x500,     ///< loads YMM0 to YMM15 from RDI, adds YMM1 to YMM0 RSI times, stores all behind, and comes out
  components = 0x700,  ///< comes out with XCR0 as RAX
};

struct Plan {
  arch::Secs secs{};
  arch::Tcs tcs{};
  u8 data[page_bytes]{};        ///< of data_page
  u8 frame_page[page_bytes]{};  ///< of the first page of each SSA frame
  u8 frame_end[page_bytes]{};   ///< of the last page of each SSA frame
  Signature signature = plain;
  bool skip_launch = false, skip_exit = false;  ///< of what a leaf's preparation does
  void reset();
};
extern Plan the_plan;

/// ECREATE and EADDs of `the_plan`; EINIT.
void build(unsigned enclave = 0);
void initialise(unsigned enclave = 0);
/// Both.
void launch(unsigned enclave = 0);
Done ecreate(unsigned enclave);
Done eadd(unsigned enclave, unsigned page, const void* content);
Done einit(unsigned enclave, Signature signature);
const arch::Sigstruct& signature(Signature which);
/// MRSIGNER of the signer of `plain`, or of `other_signer`.
const u8* signer(bool other);
/// Makes the signer of `plain`, or of `other_signer`, the launch signer.
void set_launch_signer(bool other = false);

/// Makes a page pending at a page of ELRANGE, in the place that the layout has for it.
void eaug(unsigned page, unsigned enclave = 0);
void eremove(unsigned place);
void epa(unsigned place);
/// EMODT or EMODPR of a page of enclave 0.
void change_type(unsigned page, arch::PageType type);
void restrict_rights(unsigned page, u64 allowed);
void track(unsigned enclave = 0);
void block(unsigned place);
/// EACCEPT by enclave 0 with these flags in SECINFO, for which a debugger writes them into its output page.
void accept(unsigned page, u64 flags);
/// EBLOCK, ETRACK and EWB of a place into operands.image and operands.pcmd; the version goes to a slot of version
/// array 0.
void evict(unsigned place, unsigned slot);

// ---- looking

/// ERDINFO; STATUS is all ones for a page that is not valid.
arch::Rdinfo look(unsigned place);
inline constexpr u64 invalid = ~0ul;
/// The word at an offset of a page of a debug enclave: EDBGRD.
u64 peek(unsigned place, u64 offset);
void poke(unsigned place, u64 offset, u64 value);
void poke16(unsigned place, u64 offset, u16 value);
/// The general registers that an asynchronous exit left in a frame of the first TCS of enclave 0, by their offset.
u64 saved(u64 offset, unsigned frame = 0);
/// Of all EPCM entries that ERDINFO shows, and of all operands.
u64 fingerprint();

/// Enters enclave 0 by its first TCS, in the enclave's mode; what ended it. At `run_leaf` it breaks off.
Trap enter_enclave();

/// The second processor enters enclave 0 by its second TCS, and stays; it leaves. A debug enclave.
void send_thread_inside();
void bring_thread_out();
/// It was outside for a moment: what was seen meanwhile says nothing.
bool thread_was_interrupted();

/// The machine at its baseline, the EPC mapped, whatever is in it.
void baseline();
/// The same, with all EPC free.
void fresh();

}  // namespace sgx
