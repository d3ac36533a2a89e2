// Vectors on large pages where the system grants them on request: tables that are read at random places would otherwise
// miss the translation buffer at every other read.
#pragma once
#include <cstddef>
#include <new>
#include <vector>

#if defined(__linux__)
#include <sys/mman.h>
#endif

namespace bs {

template <class T>
struct HugePages {
    using value_type = T;
    static constexpr std::size_t kPage = std::size_t{2} << 20;

    HugePages() = default;
    template <class U>
    HugePages(const HugePages<U>&) noexcept {}

    static std::align_val_t alignment(std::size_t n) noexcept {
        return std::align_val_t{n * sizeof(T) >= kPage ? kPage : alignof(std::max_align_t) * 4};
    }
    T* allocate(std::size_t n) {
        void* p = ::operator new(n * sizeof(T), alignment(n));
#if defined(MADV_HUGEPAGE)
        // Whole pages only; what is left over stays on small ones. Advice: a refusal costs time alone.
        if (n * sizeof(T) >= kPage) (void)madvise(p, n * sizeof(T) / kPage * kPage, MADV_HUGEPAGE);
#endif
        return static_cast<T*>(p);
    }
    void deallocate(T* p, std::size_t n) noexcept { ::operator delete(p, alignment(n)); }
    template <class U>
    bool operator==(const HugePages<U>&) const noexcept {
        return true;
    }
};

template <class T>
using HugeVector = std::vector<T, HugePages<T>>;

}  // namespace bs
