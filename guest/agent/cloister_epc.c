// SPDX-License-Identifier: GPL-2.0 OR MIT
// Gives EPC back to Cloister, and takes it again, as the hypervisor asks (docs/hypercalls.md).
//
// Once a second the module compares the hypervisor's target with the EPC that the kernel has. What is beyond it takes
// from the kernel's own allocator, as the SGX driver does for an enclave, so that the kernel reclaims pages of enclaves
// if it must; and gives it. While pages are given the module cannot be unloaded: nobody else would know which they are.
// After suspend to RAM it takes what is free and no more: EPC is lost then, and the driver of these kernels falls over
// pages of enclaves that are still there when it is made to reclaim them (sgx_encl_eldu(), a null pointer).
// The kernel exports neither its allocator nor its list of sections: they are found by
// name, and are as in arch/x86/kernel/cpu/sgx/sgx.h of the kernels that are named below.
//
//   /sys/module/cloister_epc/parameters/{given,target}     pages
#include <asm/processor.h>
#include <linux/io.h>
#include <linux/kprobes.h>
#include <linux/list.h>
#include <linux/module.h>
#include <linux/slab.h>
#include <linux/suspend.h>
#include <linux/version.h>
#include <linux/workqueue.h>

#if LINUX_VERSION_CODE < KERNEL_VERSION(6, 1, 0) || LINUX_VERSION_CODE >= KERNEL_VERSION(6, 2, 0)
#error "structures of the SGX driver are known here of Linux 6.1 alone"
#endif

enum { hypercall_version = 0x434c0000, epc_target = 0x434c0010, epc_give, epc_take };
enum { most_at_once = 512, most_sections = 8 };
enum { reclaims_below = 64 }; /* SGX_NR_HIGH_PAGES: with fewer that are free, the kernel reclaims by itself */

/* sgx.h, Linux 6.1 */
struct sgx_epc_page {
  unsigned int section;
  u16 flags;
  u16 poison;
  void* owner;
  struct list_head list;
};
struct sgx_epc_section {
  unsigned long phys_addr;
  void* virt_addr;
  struct sgx_epc_page* pages;
  void* node;
};

static struct sgx_epc_page* (*alloc_page_of_epc)(void* owner, bool reclaim);
static void (*free_page_of_epc)(struct sgx_epc_page* page);
static const struct sgx_epc_section* sections; /* most_sections of them */
static const atomic_long_t* free_count;
static bool has_slept, held;

static unsigned long given, target, total;
module_param(given, ulong, 0444);
MODULE_PARM_DESC(given, "pages that the hypervisor has");
module_param(target, ulong, 0444);
MODULE_PARM_DESC(target, "pages that the hypervisor asks us to have");

static LIST_HEAD(given_pages);
static struct sgx_epc_page* batch[most_at_once];
static u64* addresses; /* a page: what the hypervisor reads is physically contiguous */
static void follow(struct work_struct* work);
static DECLARE_DELAYED_WORK(worker, follow);

static long hypercall(unsigned long number, unsigned long first, unsigned long second) {
  long result = number;

  asm volatile("vmcall" : "+a"(result) : "D"(first), "S"(second) : "memory");
  return result;
}

static u64 address_of(const struct sgx_epc_page* page) {
  const struct sgx_epc_section* section = &sections[page->section];

  return section->phys_addr + (page - section->pages) * PAGE_SIZE;
}

/* For the first `count` of the batch; how many were dealt with. */
static unsigned int call_for_batch(unsigned long number, unsigned int count) {
  unsigned int i;
  long done;

  for (i = 0; i < count; i++) addresses[i] = address_of(batch[i]);
  done = hypercall(number, virt_to_phys(addresses), count);
  if (done < 0) pr_debug("cloister_epc: the hypervisor answers %ld\n", done);
  return done < 0 ? 0 : min_t(long, done, count);
}

static bool give(unsigned long most) {
  const bool slept = READ_ONCE(has_slept);
  unsigned int count = 0, done, i;

  if (!held) held = try_module_get(THIS_MODULE);
  if (!held) return false; /* it is being unloaded */
  while (count < min_t(unsigned long, most, most_at_once)) {
    struct sgx_epc_page* page;

    if (slept && atomic_long_read(free_count) <= reclaims_below) break;
    page = alloc_page_of_epc(&given_pages, !slept);
    if (IS_ERR(page)) break; /* nothing is free, and nothing can be reclaimed */
    batch[count++] = page;
  }
  done = call_for_batch(epc_give, count);
  for (i = 0; i < done; i++) list_add(&batch[i]->list, &given_pages);
  for (; i < count; i++) free_page_of_epc(batch[i]);
  given += done;
  return done != 0;
}

static bool take(unsigned long most) {
  struct sgx_epc_page* page;
  unsigned int count = 0, done, i;

  list_for_each_entry(page, &given_pages, list) {
    if (count == min_t(unsigned long, most, most_at_once)) break;
    batch[count++] = page;
  }
  done = call_for_batch(epc_take, count);
  for (i = 0; i < done; i++) {
    list_del_init(&batch[i]->list);
    free_page_of_epc(batch[i]);
  }
  given -= done;
  return done != 0;
}

static void follow(struct work_struct* work) {
  const long wanted = hypercall(epc_target, 0, 0);
  bool more = wanted >= 0;

  if (more) target = wanted;
  while (more && total - given != target) {
    more = total - given > target ? give(total - given - target) : take(target + given - total);
    cond_resched();
  }
  if (held && given == 0) {
    held = false;
    module_put(THIS_MODULE);
  }
  schedule_delayed_work(&worker, HZ);
}

static int sleeps(struct notifier_block* self, unsigned long what, void* data) {
  if (what == PM_SUSPEND_PREPARE) WRITE_ONCE(has_slept, true);
  return NOTIFY_DONE;
}
static struct notifier_block sleep_notifier = {.notifier_call = sleeps};

/* Text that kallsyms_lookup_name() of modules is not there for since Linux 5.7; a probe finds the function itself. */
static unsigned long find(const char* name) {
  static unsigned long (*lookup)(const char* name);

  if (!lookup) {
    struct kprobe probe = {.symbol_name = "kallsyms_lookup_name"};

    if (register_kprobe(&probe) < 0) return 0;
    lookup = (void*)probe.addr;
    unregister_kprobe(&probe);
  }
  return lookup(name);
}

/* EPC by CPUID (SDM vol. 3D, 36.7.2). */
static unsigned long pages_of_epc(void) {
  unsigned long pages = 0;
  unsigned int i, eax, ebx, ecx, edx;

  for (i = 2; i < 2 + most_sections; i++) {
    cpuid_count(0x12, i, &eax, &ebx, &ecx, &edx);
    if ((eax & 0xf) != 1) break;
    pages += ((((u64)edx & 0xfffff) << 32) | (ecx & 0xfffff000)) >> PAGE_SHIFT;
  }
  return pages;
}

static bool on_cloister(void) {
  unsigned int eax, words[3];

  if (!boot_cpu_has(X86_FEATURE_HYPERVISOR)) return false;
  cpuid(0x40000000, &eax, &words[0], &words[1], &words[2]);
  return memcmp(words, "Cloister\0\0\0\0", sizeof(words)) == 0 && hypercall(hypercall_version, 0, 0) >= 2;
}

static int __init start(void) {
  if (!on_cloister()) return -ENODEV;
  target = total = pages_of_epc();
  if (total == 0) return -ENODEV;
  alloc_page_of_epc = (void*)find("sgx_alloc_epc_page");
  free_page_of_epc = (void*)find("sgx_free_epc_page");
  sections = (void*)find("sgx_epc_sections");
  free_count = (void*)find("sgx_nr_free_pages");
  if (!alloc_page_of_epc || !free_page_of_epc || !sections || !free_count) return -EOPNOTSUPP;
  addresses = (u64*)__get_free_page(GFP_KERNEL);
  if (!addresses) return -ENOMEM;
  register_pm_notifier(&sleep_notifier);
  schedule_delayed_work(&worker, 0);
  return 0;
}

static void __exit stop(void) {
  unregister_pm_notifier(&sleep_notifier);
  cancel_delayed_work_sync(&worker);
  free_page((unsigned long)addresses);
}

module_init(start);
module_exit(stop);
MODULE_LICENSE("Dual MIT/GPL");
MODULE_DESCRIPTION("Gives EPC back to Cloister, and takes it again");
MODULE_VERSION("0.1.0");
